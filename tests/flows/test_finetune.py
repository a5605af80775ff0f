from __future__ import annotations

import json
import time

import numpy as np
import pytest
from jobflow import run_locally
from maggma.stores import MemoryStore

from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.stages import MDStage
from onfly.labels.ase import AseLabelMaker
from onfly.schemas import FineTunedModelDoc
from onfly.settings import get_settings


def workspace(run_id):
    return RunWorkspace(get_settings().ARTIFACT_DIR, run_id)


def finish(flow, store, ensure_success=True):
    run_locally(flow, store=store, ensure_success=ensure_success, log=False, create_folders=False)
    return flow.output.resolve(store)


def label_numbers(run_id):
    keys = ("index", "reason", "md_step", "energy", "forces", "predicted_energy", "predicted_std")
    return [tuple(str(label.model_dump()[k]) for k in keys) for label in workspace(run_id).labels()]


def test_resident_run_ends_with_a_model(make_maker, structure, store):
    model = finish(make_maker().make(structure, run_id="r"), store)
    assert isinstance(model, FineTunedModelDoc)
    assert model.n_steps == 40
    assert model.formula_pretty == "Cu"
    labels = workspace("r").labels()
    assert model.n_labels == len(labels) > 1
    assert model.n_audits == sum(label.reason == "audit" for label in labels)
    run = workspace("r").read_run()
    assert run.phase == "done"
    assert run.model_id == model.model_id
    # the offset puts the first label onto the foundation's scale, and is used with one sign
    assert labels[0].foundation_energy == pytest.approx(labels[0].energy)
    errors = [abs(label.error) for label in labels if label.error is not None]
    assert max(errors) < 2.0
    # weights are in the additional store and nowhere else
    assert model.weights is not None
    stored = store.docs_store.query_one({"output.doc_type": "model"})
    assert "blob_uuid" in json.dumps(stored["output"]["weights"], default=str)


def test_the_log_has_every_step_once(make_maker, structure, store):
    finish(make_maker().make(structure, run_id="r"), store)
    steps = []
    for path in workspace("r").thermo_files():
        rows = np.genfromtxt(path, delimiter=",", names=True, usecols=(0, 3), ndmin=1)
        steps += rows["step"].astype(int).tolist()
    assert steps == list(range(1, 41))


def test_chained_and_resident_give_the_same_numbers(make_maker, structure, store):
    resident = finish(make_maker("resident").make(structure, run_id="a"), store)
    for fuse, name in ((True, "b"), (False, "c")):
        chained = finish(make_maker("chained", fuse=fuse).make(structure, run_id=name), store)
        assert label_numbers(name) == label_numbers("a")
        assert [m.sha256 for m in chained.ensemble.members] == [
            m.sha256 for m in resident.ensemble.members
        ]
        assert chained.calibration == resident.calibration
        assert chained.n_audits_within == resident.n_audits_within


def test_another_seed_gives_other_numbers(make_maker, structure, store):
    maker = make_maker(n_steps=15)
    finish(maker.make(structure, run_id="a"), store)
    finish(maker.make(structure, run_id="b"), store)
    maker.seed = 1
    finish(maker.make(structure, run_id="c"), store)
    assert label_numbers("a") == label_numbers("b")
    assert label_numbers("a") != label_numbers("c")


def test_retention_keeps_two_generations(make_maker, structure, store):
    model = finish(make_maker(n_steps=60).make(structure, run_id="r"), store)
    assert model.ensemble.generation > 3
    files = list((workspace("r").folder / "ensembles").glob("*.safetensors"))
    assert len(files) <= 2 * len(model.ensemble.members)


def test_names_do_not_grow_and_metadata_reaches_every_job(make_maker, structure, store):
    flow = make_maker("chained", fuse=False).make(structure, run_id="r")
    flow.update_metadata({"project": "copper"})
    finish(flow, store)
    docs = list(store.docs_store.query({}))
    assert len(docs) > 10
    assert all(len(doc["name"]) < 30 for doc in docs)
    names = [doc["name"] for doc in docs]
    assert any(name.startswith("otf segment 3") for name in names)
    assert {doc["metadata"].get("project") for doc in docs} == {"copper"}
    assert {doc["metadata"]["onfly"]["run_id"] for doc in docs} == {"r"}


def test_powerups_reach_labels_deep_in_the_chain(make_maker, structure, store):
    maker = make_maker("chained", label_maker=AseLabelMaker(calculator="ase.calculators.emt.EMT"))
    flow = maker.make(structure, run_id="r")
    flow.update_maker_kwargs(
        {"calculator_kwargs": {"asap_cutoff": True}}, class_filter=AseLabelMaker, nested=True
    )
    finish(flow, store)
    hashes = {label.input_hash for label in workspace("r").labels()}
    assert len(hashes) == 1
    other = make_maker(
        "chained", n_steps=5, label_maker=AseLabelMaker(calculator="ase.calculators.emt.EMT")
    )
    finish(other.make(structure, run_id="plain"), store)
    assert hashes != {label.input_hash for label in workspace("plain").labels()}


def test_two_compounds_in_one_store_do_not_mix(make_maker, structure, store):
    bigger = structure.copy()
    bigger.make_supercell([1, 1, 2])
    maker = make_maker(n_steps=10)
    one = finish(maker.make(structure, run_id="one"), store)
    two = finish(maker.make(bigger, run_id="two"), store)
    assert one.model_id != two.model_id
    assert len(workspace("two").labels()[0].structure) == 8


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_a_failed_label_rewinds_and_too_many_stop(mode, make_maker, structure, store):
    flaky = AseLabelMaker(calculator="tests.flows.flaky.FlakyEMT", calculator_kwargs={"n_good": 2})
    maker = make_maker(mode, label_maker=flaky)
    # in a chain the job of a failed label fails, and the run goes on without it
    model = finish(maker.make(structure, run_id="r"), store, ensure_success=mode == "resident")
    run = workspace("r").read_run()
    assert run.phase == "stopped"
    assert model.state == "stopped"
    assert run.n_failures == maker.max_failures
    assert "3 labels failed" in run.stop_reason
    assert "no convergence" in run.failures[-1] or mode == "chained"
    assert len(workspace("r").labels()) == 2  # what was good is kept


def test_the_end_of_the_stages_is_recorded(make_maker, structure, store):
    stages = [MDStage(5, temperature=300.0), MDStage(5, temperature=600.0)]
    model = finish(make_maker(stages=stages).make(structure, run_id="r"), store)
    assert model.stop_reason == "all stages are done"
    assert model.temperature_range == (300.0, 600.0)
    assert model.n_steps == 10


def test_the_walltime_ends_a_segment_cleanly(make_maker, structure, store):
    maker = make_maker("chained", audit_interval=0, warmup_labels=0, max_walltime=0.05, n_steps=60)
    maker.threshold = 1e4
    model = finish(maker.make(structure, run_id="short"), store)
    assert model.n_steps == 60
    assert workspace("short").read_run().iteration > 1
    whole = make_maker("chained", audit_interval=0, warmup_labels=0, n_steps=60)
    whole.threshold = 1e4
    finish(whole.make(structure, run_id="whole"), store)
    last = [
        workspace(n).load_md_state(workspace(n).read_run().md_state) for n in ("short", "whole")
    ]
    np.testing.assert_array_equal(last[0]["positions"], last[1]["positions"])


def test_bad_input_is_refused_before_any_job(make_maker, structure):
    maker = make_maker()
    maker.threshold = -1.0
    with pytest.raises(ValueError, match="not positive"):
        maker.make(structure)
    maker.threshold, maker.threshold_unit = 1.0, "eV/atom"
    with pytest.raises(ValueError, match="unknown energy unit"):
        maker.make(structure)
    with pytest.raises(ValueError, match="needs a pressure"):
        make_maker(ensemble="npt").make(structure)


@pytest.mark.slow
def test_chain_of_300_iterations(make_maker, structure):
    from jobflow import JobStore

    docs = MemoryStore()
    store = JobStore(docs, additional_stores={"data": MemoryStore()})
    store.connect()
    maker = make_maker(
        "chained",
        n_steps=300,
        audit_interval=1,
        posterior={"kind": "sghmc", "n_members": 2, "n_steps": 30},
    )
    flow = maker.make(structure, run_id="long")
    first = flow.jobs[2].uuid
    model = finish(flow, store)
    assert model.n_labels == 301
    start = time.monotonic()
    output = store.get_output(first, load=True)
    assert time.monotonic() - start < 1.0
    assert output["phase"] == "publish"
    from datetime import datetime

    times = [
        datetime.fromisoformat(str(d["completed_at"]))
        for d in docs.query({"name": {"$regex": "^otf segment"}}, sort={"index": 1})
    ]
    pace = np.diff([t.timestamp() for t in times])
    assert np.median(pace[-30:]) < 2 * np.median(pace[10:40])
    chain = [
        d
        for d in docs.query({}, sort={"completed_at": 1})
        if not d["name"].startswith("otf archive")
    ]
    sizes = [len(json.dumps(d, default=str)) for d in chain]
    half = len(sizes) // 2
    assert sum(sizes[half:]) < 1.1 * sum(sizes[:half])
