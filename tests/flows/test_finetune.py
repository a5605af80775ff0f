from __future__ import annotations

import json
import time

import numpy as np
import pytest
from jobflow import run_locally
from maggma.stores import MemoryStore

from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.ase import AseLabelMaker
from onfly.labels.store import LabelStore
from onfly.schemas import FineTunedModelDoc
from onfly.settings import get_settings


def workspace(run_id):
    return RunWorkspace(get_settings().ARTIFACT_DIR, run_id)


def finish(flow, store, ensure_success=True):
    run_locally(flow, store=store, ensure_success=ensure_success, log=False, create_folders=False)
    return flow.output.resolve(store)


def ledger(run_id):
    space = workspace(run_id)
    return space.read_ledger(space.read_state().posterior.n_records)


def labels(run_id):
    store = LabelStore(get_settings().ARTIFACT_DIR / "labels")
    return [store.get(entry.label) for entry in ledger(run_id).entries if entry.label]


def numbers(run_id):
    """Return all that must not depend on how a run was done."""
    state = workspace(run_id).read_state()
    entries = [{**entry.model_dump(), "label": None} for entry in ledger(run_id).entries]
    return (
        entries,
        [(label.energy, label.forces) for label in labels(run_id)],
        [m.sha256 for m in state.posterior.ensemble.members],
        state.posterior.calibration,
        [(t.md_step, t.md_state.sha256) for t in state.trajectories],
        state.posterior.n_waits,
    )


def test_resident_run_ends_with_a_model(make_maker, structure, store):
    model = finish(make_maker().make(structure, run_id="r"), store)
    assert isinstance(model, FineTunedModelDoc)
    assert model.n_steps >= 50  # the stages, and a closing block
    assert model.formula_pretty == "Cu"
    entries = ledger("r").entries
    assert model.n_labels == len(labels("r")) == len(entries) > 1
    assert model.n_audits == sum(e.reason in ("audit", "closing") for e in entries)
    run = workspace("r").read_state()
    assert run.phase == "done"
    assert run.posterior.model_id == model.model_id
    # the offset puts the first label onto the foundation's scale, and is used with one sign
    assert entries[0].foundation_error == pytest.approx(0.0, abs=1e-9)
    errors = [abs(entry.error) for entry in entries if entry.error is not None]
    assert max(errors) < 2.0
    # weights are in the additional store and nowhere else
    assert model.weights is not None
    stored = store.docs_store.query_one({"output.doc_type": "model"})
    assert "blob_uuid" in json.dumps(stored["output"]["weights"], default=str)


def steps(run_id):
    found = []
    for folder in workspace(run_id).trajectory_folders():
        for path in folder.thermo_files():
            rows = np.genfromtxt(path, delimiter=",", names=True, usecols=(0, 3), ndmin=1)
            found += [(folder.index, int(step)) for step in rows["step"]]
    return found


@pytest.mark.parametrize("walkers", [1, 3])
def test_the_log_has_every_step_once(walkers, make_maker, structure, store):
    finish(make_maker(n_steps=20, walkers=walkers).make(structure, run_id="r"), store)
    state = workspace("r").read_state()
    expected = [(t.index, step) for t in state.trajectories for step in range(1, t.md_step + 1)]
    assert len(state.trajectories) == walkers
    assert steps("r") == expected


@pytest.mark.parametrize("walkers", [1, 3])
def test_chained_and_resident_give_the_same_numbers(walkers, make_maker, structure, store):
    options = {"n_steps": 25, "walkers": walkers, "initial_labels": walkers, "initial_steps": 3}
    finish(make_maker("resident", **options).make(structure, run_id="a"), store)
    for fuse, name in ((True, "b"), (False, "c")):
        finish(make_maker("chained", fuse=fuse, **options).make(structure, run_id=name), store)
        assert numbers(name) == numbers("a")


def test_trajectories_differ(make_maker, structure, store):
    finish(make_maker(n_steps=10, walkers=2).make(structure, run_id="r"), store)
    first, second = workspace("r").read_state().trajectories
    assert first.md_state.sha256 != second.md_state.sha256


def test_another_seed_gives_other_numbers(make_maker, structure, store):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finish(make_maker(n_steps=15, seed=seed).make(structure, run_id=name), store)
    assert numbers("a") == numbers("b")
    assert numbers("a")[0] != numbers("c")[0]


def test_only_weights_that_are_needed_are_kept(make_maker, structure, store):
    model = finish(make_maker(n_steps=60).make(structure, run_id="r"), store)
    assert model.ensemble.generation >= 3
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
    assert any(name.startswith("otf round 3") for name in names)
    assert {doc["metadata"].get("project") for doc in docs} == {"copper"}
    assert {doc["metadata"]["onfly"]["run_id"] for doc in docs} == {"r"}


def test_powerups_reach_labels_deep_in_the_chain(make_maker, structure, store):
    maker = make_maker("chained", label_maker=AseLabelMaker(calculator="ase.calculators.emt.EMT"))
    flow = maker.make(structure, run_id="r")
    flow.update_maker_kwargs(
        {"calculator_kwargs": {"asap_cutoff": True}}, class_filter=AseLabelMaker, nested=True
    )
    finish(flow, store)
    hashes = {label.input_hash for label in labels("r")}
    assert len(hashes) == 1
    other = make_maker(
        "chained", n_steps=5, label_maker=AseLabelMaker(calculator="ase.calculators.emt.EMT")
    )
    finish(other.make(structure, run_id="plain"), store)
    assert hashes != {label.input_hash for label in labels("plain")}


def test_two_compounds_in_one_store_do_not_mix(make_maker, structure, store):
    bigger = structure.copy()
    bigger.make_supercell([1, 1, 2])
    maker = make_maker(n_steps=10)
    one = finish(maker.make(structure, run_id="one"), store)
    two = finish(maker.make(bigger, run_id="two"), store)
    assert one.model_id != two.model_id
    assert len(labels("two")[0].structure) == 8


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_a_failed_label_rewinds_and_too_many_stop(mode, make_maker, structure, store):
    flaky = AseLabelMaker(calculator="tests.flows.flaky.FlakyEMT", calculator_kwargs={"n_good": 2})
    maker = make_maker(mode, label_maker=flaky)
    # in a chain the job of a failed label fails, and the run goes on without it
    model = finish(maker.make(structure, run_id="r"), store, ensure_success=mode == "resident")
    run = workspace("r").read_state()
    assert run.phase == "stopped"
    assert model.state == "stopped"
    assert run.n_failures >= maker.resolved_spec.stopping.max_failures
    assert "3 failures" in run.posterior.stop_reason
    assert "no convergence" in run.failures[-1] or mode == "chained"
    assert len(labels("r")) == 2  # what was good is kept


def test_the_end_of_the_stages_is_recorded(make_maker, structure, store):
    stages = [
        {"n_steps": 5, "temperature": 300.0, "time_step": 2.0},
        {"n_steps": 5, "temperature": 600.0, "time_step": 2.0},
    ]
    maker = make_maker(stages=stages, proof={"attempts": 0})
    model = finish(maker.make(structure, run_id="r"), store)
    assert model.stop_reason == "all stages are done; no proof was asked"
    assert model.temperature_range == (300.0, 600.0)
    assert model.n_steps == 10
    assert model.state == "needs more audits"


def test_the_walltime_ends_a_segment_cleanly(make_maker, structure, store):
    quiet = {"audit_interval": 0, "warmup_labels": 0, "n_steps": 60, "threshold": 1e4}
    quiet |= {"proof": {"attempts": 0}}
    short = make_maker("chained", max_walltime=0.05, **quiet)
    model = finish(short.make(structure, run_id="short"), store)
    assert model.n_steps == 60
    assert workspace("short").read_state().trajectories[0].segment > 1
    finish(make_maker("chained", **quiet).make(structure, run_id="whole"), store)
    last = [
        workspace(n).load_md_state(workspace(n).read_state().trajectories[0].md_state)
        for n in ("short", "whole")
    ]
    np.testing.assert_array_equal(last[0]["positions"], last[1]["positions"])


def test_bad_input_is_refused_before_any_job(make_maker, structure):
    for threshold, words in ((-1.0, "greater than 0"), ("1 eV/atom", "unit")):
        maker = make_maker()
        maker.threshold = threshold
        with pytest.raises(ValueError, match=words):
            maker.make(structure)
    with pytest.raises(ValueError, match="needs a pressure"):
        make_maker(stages=[{"n_steps": 5, "ensemble": "npt"}])


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
        audit_update_fraction=0.0,
        round_length=1,
        reuse_labels=False,
        proof={"attempts": 0},
    )
    flow = maker.make(structure, run_id="long")
    first = flow.jobs[0].uuid
    model = finish(flow, store)
    assert model.n_labels == 301
    start = time.monotonic()
    output = store.get_output(first, load=True)
    assert time.monotonic() - start < 1.0
    assert output["posterior"]["phase"] == "publish"
    from datetime import datetime

    times = [
        datetime.fromisoformat(str(d["completed_at"]))
        for d in docs.query({"name": {"$regex": "^otf round"}}, sort={"index": 1})
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
