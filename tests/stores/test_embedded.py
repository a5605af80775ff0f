from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from jobflow import Flow, JobStore, Response, job, run_locally
from maggma.core import StoreError
from maggma.stores import MongoStore

from onfly.stores import EmbeddedBlobStore, EmbeddedStore


@pytest.fixture
def store(tmp_path):
    store = EmbeddedStore(tmp_path / "store", "docs", key="uuid")
    store.connect()
    return store


def test_update_replaces_by_key_and_is_there_for_the_next_process(store):
    store.update([{"uuid": "a", "x": 1}, {"uuid": "b", "x": 2}])
    store.update({"uuid": "a", "x": 3})
    code = (
        "from onfly.stores import EmbeddedStore\n"
        f"s = EmbeddedStore({store.path!r}, 'docs', key='uuid'); s.connect()\n"
        "print(sorted((d['uuid'], d['x']) for d in s.query()))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[('a', 3), ('b', 2)]"


def test_queries_sort_limit_count_distinct_group(store):
    store.update([{"uuid": str(i), "n": i, "even": i % 2 == 0, "e": ["Ca", "S"]} for i in range(9)])
    assert [d["n"] for d in store.query({"n": {"$gt": 2}}, sort={"n": -1}, limit=2)] == [8, 7]
    assert [d["n"] for d in store.query(sort={"n": 1}, skip=7)] == [7, 8]
    assert store.count() == 9
    assert store.count({"even": True}) == 5
    assert store.count({"e": {"$all": ["S"], "$size": 2}}, hint={"n": 1}) == 9
    assert sorted(store.distinct("even")) == [False, True]
    groups = {k["even"]: len(docs) for k, docs in store.groupby("even", properties=["n"])}
    assert groups == {True: 5, False: 4}
    assert set(store.query_one({"n": 3}, ["n"])) - {"_id"} == {"n"}
    store.remove_docs({"even": True})
    assert store.count() == 4
    assert store.query_one({"n": 2}) is None


def test_indexes_are_kept_and_unique_ones_enforced(store):
    assert store.ensure_index("uuid", unique=True)
    assert store.ensure_index("uuid", unique=True)
    assert "uuid_1" in store._collection.index_information()
    store.update({"uuid": "a", "other": 1})
    with pytest.raises(Exception, match=r"[Dd]uplicate"):
        store._collection.insert_one({"uuid": "a"})


def test_unconnected_store_says_so(tmp_path):
    with pytest.raises(StoreError, match=r"call connect\(\)"):
        EmbeddedStore(tmp_path, "docs").count()
    store = EmbeddedStore(tmp_path, "docs", key="uuid")
    store.connect()
    store.update({"uuid": "a"})
    store.close()
    with pytest.raises(StoreError):
        store.count()
    store.connect()
    assert store.count() == 1


@pytest.mark.parametrize("kind", [EmbeddedStore, EmbeddedBlobStore])
def test_store_copies_and_serialises(tmp_path, kind):
    store = kind(tmp_path / "s", "docs", key="uuid")
    store.connect()
    store.update({"uuid": "a", "data": [1]})
    for other in (
        kind.from_dict(store.as_dict()),
        pickle.loads(pickle.dumps(store)),
        copy.deepcopy(store),
    ):
        other.connect()
        assert other.key == "uuid"
        assert other == store
        assert other.query_one({"uuid": "a"})["data"] == [1]


def test_threads_write_and_read_at_once(store):
    errors = []

    def work(name):
        try:
            for i in range(15):
                store.update({"uuid": f"{name}-{i}", "x": i})
                assert store.query_one({"uuid": f"{name}-{i}"})["x"] == i
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.count() == 60


_WRITER = """
import sys
from onfly.stores import EmbeddedStore
store = EmbeddedStore(sys.argv[1], "docs", key="uuid")
store.connect()
for i in range(int(sys.argv[3])):
    store.update({"uuid": sys.argv[2].format(i=i), "x": i})
    print(i, flush=True)
"""


def test_processes_that_insert_the_same_keys_make_no_duplicates(store):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, store.path, "same-{i}", "40"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]
    assert [p.wait() for p in processes] == [0, 0, 0]
    assert store.count() == 40


def test_acknowledged_writes_survive_a_kill(store):
    acknowledged = 0
    for round_ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, store.path, f"{round_}-{{i}}", "100000"],
            stdout=subprocess.PIPE,
            text=True,
        )
        process.stdout.readline()
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
        last = int((process.stdout.read().split() or ["0"])[-1])
        process.wait()
        acknowledged += last + 1
        found = {d["uuid"] for d in store.query({}, ["uuid"])}
        assert {f"{round_}-{i}" for i in range(last + 1)} <= found
    assert acknowledged > 2


@job(data="blob")
def _start(n):
    return {"blob": {"numbers": list(range(n))}, "n": n}


@job
def _more(value):
    return Response(replace=Flow([_end(value)], output=None), output=None)


@job
def _end(value):
    return value["n"] + len(value["blob"]["numbers"])


@job
def _grow(n):
    if n == 0:
        return "grown"
    return Response(replace=_grow(n - 1))


def _job_store(path):
    return JobStore(
        EmbeddedStore(path, "outputs"), additional_stores={"data": EmbeddedBlobStore(path, "blobs")}
    )


def test_a_dynamic_flow_with_a_blob_runs_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = _start(1000)
    second = _end(first.output)
    third = _grow(3)
    flow = Flow([first, second, third])
    store = _job_store(tmp_path / "store")
    run_locally(flow, store=store, ensure_success=True)
    store.close()

    again = _job_store(tmp_path / "store")
    again.connect()
    assert again.get_output(first.uuid, load=True)["blob"]["numbers"][-1] == 999
    assert "blob_uuid" in again.query_one({"uuid": first.uuid})["output"]["blob"]
    assert again.get_output(second.uuid) == 2000
    assert again.get_output(third.uuid) == "grown"
    assert sorted(d["index"] for d in again.query({"uuid": third.uuid})) == [1, 2, 3, 4]
    assert isinstance(again.docs_store, MongoStore)


@pytest.fixture
def blobs(tmp_path):
    store = EmbeddedBlobStore(tmp_path / "store", "blobs", key="blob_uuid")
    store.connect()
    return store


def test_blobs_are_files_and_go_with_their_documents(blobs):
    blobs.update([{"blob_uuid": str(i), "data": ["x" * 300_000, i // 2]} for i in range(4)])
    assert len(list(blobs.files.rglob("*.json.gz"))) == 2
    size = sum(f.stat().st_size for f in blobs._folder.glob("blobs*") if f.is_file())
    assert size < 300_000
    assert blobs.query_one({"blob_uuid": "3"})["data"] == ["x" * 300_000, 1]
    assert blobs.query_one({"blob_uuid": "3"}, ["data"])["data"][1] == 1
    bare = blobs.query_one({"blob_uuid": "3"}, ["blob_uuid"])
    assert set(bare) - {"_id"} == {"blob_uuid"}
    blobs.remove_docs({"blob_uuid": {"$in": ["0", "2", "3"]}})
    assert len(list(blobs.files.rglob("*.json.gz"))) == 1
    assert blobs.query_one({"blob_uuid": "1"})["data"][1] == 0


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone"])
def test_a_damaged_blob_is_refused(blobs, damage):
    blobs.update([{"blob_uuid": "a", "data": "x" * 1000}, {"blob_uuid": "b", "data": "y" * 1000}])
    path, other = sorted(blobs.files.rglob("*.json.gz"))
    if damage == "changed":
        path.write_bytes(other.read_bytes())
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    with pytest.raises(StoreError, match=str(path)):
        list(blobs.query())
