from __future__ import annotations

import pytest
import yaml
from jobflow import JobStore
from maggma.stores import FileStore, MemoryStore, MongoStore

from onfly.settings import get_settings
from onfly.stores import EmbeddedBlobStore, EmbeddedStore, job_store, sibling

MONGO = {
    "docs_store": {"type": "MongoStore", "database": "d", "collection_name": "outputs", "port": 1},
    "additional_stores": {"data": {"type": "GridFSStore", "database": "d", "collection_name": "b"}},
}


def test_without_configuration_the_store_is_embedded(tmp_path):
    store = job_store()
    assert isinstance(store.docs_store, EmbeddedStore)
    assert isinstance(store.additional_stores["data"], EmbeddedBlobStore)
    assert store.docs_store.path == str(tmp_path / "home/.onfly/store")
    assert not (tmp_path / "home").exists(), "nothing is written before the store is used"


def test_jobflow_configuration_is_taken_if_there_is_one(tmp_path, monkeypatch):
    path = tmp_path / "jobflow.yaml"
    path.write_text(yaml.safe_dump({"JOB_STORE": MONGO}))
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(path))
    assert type(job_store().docs_store) is MongoStore
    # a configuration without a store means jobflow's store in memory, which keeps nothing
    path.write_text("DIRECTORY_FORMAT: '%Y'\n")
    assert isinstance(job_store().docs_store, EmbeddedStore)


def test_our_settings_come_first_in_both_formats(tmp_path, monkeypatch):
    path = tmp_path / "jobflow.yaml"
    path.write_text(yaml.safe_dump({"JOB_STORE": MONGO}))
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(path))
    spec = {
        "docs_store": {"type": "EmbeddedStore", "path": str(tmp_path), "collection_name": "o"},
        "additional_stores": {
            "data": {"type": "EmbeddedBlobStore", "path": str(tmp_path), "collection_name": "b"}
        },
    }
    first = job_store(get_settings(JOB_STORE=spec))
    second = job_store(get_settings(JOB_STORE=first.as_dict()))
    for store in (first, second):
        assert isinstance(store, JobStore)
        assert store.docs_store.path == str(tmp_path)
        assert isinstance(store.additional_stores["data"], EmbeddedBlobStore)


def test_configuration_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="no additional store named `data`"):
        job_store(get_settings(JOB_STORE={"docs_store": {"type": "MemoryStore"}}))
    with pytest.raises(ValueError, match=r"JOB_STORE cannot be built.*NoSuchStore"):
        job_store(get_settings(JOB_STORE={"docs_store": {"type": "NoSuchStore"}}))
    with pytest.raises(ValueError, match="docs_store"):
        job_store(get_settings(JOB_STORE={}))


def test_collections_lie_next_to_the_outputs(tmp_path):
    settings = get_settings(STORE_DIR=tmp_path)
    models = sibling(job_store(settings).docs_store, settings.MODELS_COLLECTION, "model_id")
    assert isinstance(models, EmbeddedStore)
    assert (models.path, models.collection_name, models.key) == (
        str(tmp_path),
        "onfly_models",
        "model_id",
    )
    mongo = job_store(get_settings(JOB_STORE=MONGO)).docs_store
    runs = sibling(mongo, "onfly_runs", "run_id")
    assert type(runs) is MongoStore
    assert (runs.database, runs.collection_name, runs.key, runs.port) == (
        "d",
        "onfly_runs",
        "run_id",
        1,
    )
    assert isinstance(sibling(MemoryStore(), "x", "k"), MemoryStore)


def test_stores_without_collections_are_refused(tmp_path):
    with pytest.raises(ValueError, match="next to FileStore"):
        sibling(FileStore(tmp_path, []), "onfly_models", "model_id")
