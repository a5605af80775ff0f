"""Labels reach the library through the outputs of the jobs, without the folder of the run."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from jobflow import run_locally

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.archive import ArchiveLabelsMaker
from onfly.jobs.publish import PublishMaker
from onfly.labels.store import LabelStore
from onfly.library import ModelLibrary
from onfly.library.label_builder import LabelBuilder
from onfly.settings import get_settings
from onfly.stores import job_store
from tests.campaign.conftest import metals


@pytest.fixture
def finished(make_maker):
    def run(run_id="r", **options):
        maker = make_maker(n_steps=20, audit_interval=3)
        maker = replace(
            maker,
            campaign="c",
            publish_maker=PublishMaker(archive_maker=ArchiveLabelsMaker(**options)),
        )
        store = job_store()
        run_locally(
            maker.make(metals(1)[0], run_id=run_id), store=store, ensure_success=True, log=False
        )
        return store

    return run


def labels_of(run_id):
    root = get_settings().ARTIFACT_DIR
    workspace, store = RunWorkspace(root, run_id), LabelStore(root / "labels")
    entries = workspace.read_ledger(workspace.read_state().posterior.n_records).entries
    return [store.get(entry.label) for entry in entries if entry.label]


def stored(library):
    return list(library.labels_store.query({}, sort={"run_id": 1, "index": 1}))


def test_labels_come_in_parts_that_fit_into_documents(finished):
    store = finished(max_mb=0.01)
    sizes = [len(label.model_dump_json()) for label in labels_of("r")]
    batches = list(store.query({"output.doc_type": "labels"}, sort={"output.first": 1}))
    assert len(batches) > 1
    firsts = [b["output"]["first"] for b in batches]
    counts = [len(b["output"]["labels"]) for b in batches]
    assert sum(counts) == len(sizes)
    for first, count in zip(firsts, counts, strict=True):
        assert count == 1 or sum(sizes[first : first + count]) <= 10_000
    assert {b["metadata"]["onfly"]["run_id"] for b in batches} == {"r"}


def test_the_library_takes_labels_from_the_job_store_alone(finished):
    settings = get_settings()
    store = finished(max_mb=0.01)
    labels = labels_of("r")
    shutil.rmtree(settings.ARTIFACT_DIR)  # another machine
    library = ModelLibrary.from_job_store(store, refresh=False)
    assert library.refresh(store) > 0
    found = stored(library)
    assert [f["index"] for f in found] == list(range(len(labels)))
    assert [f["energy"] for f in found] == [label.energy for label in labels]
    assert [f["forces"] for f in found] == [label.forces for label in labels]
    assert {f["campaign"] for f in found} == {"c"}
    assert {f["source"]["uuid"] for f in found} == {
        b["uuid"] for b in store.query({"output.doc_type": "labels"})
    }
    assert LabelBuilder(store, library.labels_store).build() == 0
    assert len(stored(library)) == len(labels)


def test_labels_of_the_folder_and_of_the_store_are_the_same_documents(finished):
    store = finished()
    library = ModelLibrary.from_job_store(store, refresh=False)
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, "r")
    n_labels = len(labels_of("r"))
    assert library.add_run(workspace) == n_labels
    library.refresh(store)
    assert len(stored(library)) == n_labels
    assert library.add_run(workspace) == 0


def test_a_second_run_is_added_to_the_first(finished):
    store = finished("one")
    library = ModelLibrary.from_job_store(store)
    before = len(stored(library))
    library.refresh(finished("two"))
    assert len(stored(library)) == 2 * before


def test_labels_may_be_left_in_the_folder(make_maker):
    maker = replace(make_maker(), publish_maker=PublishMaker(archive_maker=None))
    store = job_store()
    run_locally(maker.make(metals(1)[0]), store=store, ensure_success=True, log=False)
    assert store.query_one({"output.doc_type": "model"}) is not None
    assert store.query_one({"output.doc_type": "labels"}) is None
