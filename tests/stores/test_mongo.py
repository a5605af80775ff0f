"""The stores against a real server over TCP."""

from __future__ import annotations

import base64
import os
import threading

import pytest
from jobflow import Flow, Response, job, run_locally
from pymongo import MongoClient, ReturnDocument

from onfly.settings import get_settings
from onfly.stores import job_store, sibling
from onfly.testing.mongo import URI_VARIABLE, WireServer

pytestmark = pytest.mark.mongo


@pytest.fixture
def store(mongo_server):
    store = job_store(get_settings(JOB_STORE=mongo_server.job_store_spec()))
    store.connect()
    return store


@job(data="weights")
def _publish(size):
    data = bytes(i * i % 251 for i in range(size))
    return {"weights": {"chunks": [base64.b64encode(data).decode()]}, "size": size}


@job
def _size(value):
    return len(base64.b64decode(value["weights"]["chunks"][0]))


@job
def _countdown(n):
    return "landed" if n == 0 else Response(replace=_countdown(n - 1))


def test_a_dynamic_flow_with_weights_in_gridfs(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = _publish(3_000_000)
    second, third = _size(first.output), _countdown(2)
    run_locally(Flow([first, second, third]), store=store, ensure_success=True)
    again = type(store).from_dict(store.as_dict())
    again.connect()
    assert again.get_output(second.uuid) == 3_000_000
    assert again.get_output(third.uuid) == "landed"
    # the document itself is small, the weights come byte for byte when asked for
    assert "blob_uuid" in again.query_one({"uuid": first.uuid})["output"]["weights"]
    data = base64.b64decode(again.get_output(first.uuid, load=True)["weights"]["chunks"][0])
    assert data == bytes(i * i % 251 for i in range(3_000_000))


def test_collections_next_to_the_outputs(store, mongo_server):
    models = sibling(store.docs_store, "onfly_models", "model_id")
    models.connect()
    models.update([{"model_id": "a", "x": 1}, {"model_id": "b", "x": 2}])
    models.update({"model_id": "a", "x": 3})
    with mongo_server.client() as client:
        found = client[mongo_server.database]["onfly_models"].find({}, {"_id": 0})
        assert sorted(found, key=lambda d: d["model_id"]) == [
            {"model_id": "a", "x": 3},
            {"model_id": "b", "x": 2},
        ]


def test_find_and_modify_is_exclusive(mongo_server):
    """Concurrent counters give each number once, also by the document before the change."""
    results: list[int] = []

    def work():
        with mongo_server.client() as client:
            counter = client[mongo_server.database]["counter"]
            for _ in range(40):
                doc = counter.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}})
                results.append(doc["n"])

    with mongo_server.client() as client:
        client[mongo_server.database]["counter"].insert_one({"_id": 1, "n": 0})
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = client[mongo_server.database]["counter"].find_one_and_update(
            {"_id": 1}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER
        )
    assert sorted(results) == list(range(240))
    assert last["n"] == 241


@pytest.mark.skipif(URI_VARIABLE in os.environ, reason="the user's server is not killed")
def test_server_keeps_what_it_acknowledged_when_it_is_killed(tmp_path):
    server = WireServer(tmp_path / "server").start()
    try:
        uri = server.uri
        with MongoClient(uri) as client:
            for i in range(50):
                client["d"]["c"].insert_one({"_id": i})
        server.kill()
        server.start()
        assert server.uri == uri
        with MongoClient(uri) as client:
            assert client["d"]["c"].count_documents({}) == 50
    finally:
        server.stop()
