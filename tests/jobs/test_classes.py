"""A class update as a job: its output is found by the library of another machine."""

from __future__ import annotations

import pytest
from jobflow import Flow, run_locally
from monty.json import MontyDecoder, MontyEncoder

from onfly import ClassUpdateMaker
from onfly.classes.library import ClassLibrary
from onfly.potentials import load_foundation
from onfly.stores import job_store
from tests.classes.conftest import PAIRS, QUICK, machine, write_alloy

__all__ = ["machine"]


@pytest.fixture
def maker(machine):
    for pair in PAIRS[:2]:
        write_alloy(pair)
    return ClassUpdateMaker(class_name="alloys", fit=QUICK, licences={"labels": "CC0"})


def test_the_output_is_found_where_there_are_no_files(maker, tmp_path, monkeypatch):
    job = maker.make(campaign="alloys")
    store = job_store()
    run_locally(job, store=store, ensure_success=True)
    (stored,) = store.query({"uuid": job.uuid}, load=False)
    assert "blob_uuid" in stored["output"]["weights"]
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    (doc,) = ClassLibrary.from_settings().documents()
    assert (doc.class_id, doc.campaign, doc.licences["labels"]) == ("alloys@1", "alloys", "CC0")
    assert load_foundation("class:alloys").sha256 == doc.weights_file.sha256


def test_runs_can_be_named_and_a_job_run_again_gives_the_same_version(maker):
    jobs = [maker.make(run_ids=["run-CuAu"]) for _ in range(2)]
    outputs = run_locally(Flow(jobs), store=job_store(), ensure_success=True)
    docs = [outputs[job.uuid][1].output for job in jobs]
    assert [doc.class_id for doc in docs] == ["alloys@1", "alloys@1"]
    assert docs[0].run_ids == ["run-CuAu"]


def test_without_labels_the_job_fails_and_says_why(maker):
    job = maker.make(campaign="none")
    outputs = run_locally(job, store=job_store(), log=False)
    assert job.uuid not in outputs or not outputs[job.uuid]
    with pytest.raises(ValueError, match="whose labels"):
        ClassUpdateMaker.make.__wrapped__.original(maker)


def test_a_maker_goes_through_json(maker):
    text = MontyEncoder().encode(maker)
    assert MontyDecoder().decode(text) == maker
