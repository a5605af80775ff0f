"""What one run has paid for, no other run pays for again, and no number changes by it."""

from __future__ import annotations

import pytest
from jobflow import run_locally

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.resident import run_loop
from onfly.labels.ase import AseLabelMaker
from onfly.labels.presets import label_maker
from onfly.labels.store import LabelStore
from onfly.rounds.new import new_run
from onfly.settings import get_settings
from tests.flows.conftest import machine, make_maker, store, structure

__all__ = ["machine", "make_maker", "store", "structure"]


@pytest.fixture
def paid(monkeypatch):
    """Return the structures that the labeller really calculated."""
    calculated = []
    run = AseLabelMaker.run

    def counted(self, structure):
        calculated.append(structure)
        return run(self, structure)

    monkeypatch.setattr(AseLabelMaker, "run", counted)
    return calculated


def finish(flow, store):
    run_locally(flow, store=store, ensure_success=True, log=False, create_folders=False)
    return flow.output.resolve(store)


def entries_of(run_id):
    space = RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
    return space.read_ledger(space.read_state().posterior.n_records).entries


def labels_of(run_id):
    store = LabelStore(get_settings().ARTIFACT_DIR / "labels")
    return [store.get(entry.label) for entry in entries_of(run_id) if entry.label]


def numbers(model):
    labels = [(x.energy, x.forces, x.stress) for x in labels_of(model.run_id)]
    entries = [entry.model_dump() for entry in entries_of(model.run_id)]
    return labels, entries, [m.sha256 for m in model.ensemble.members], model.calibration


def test_a_second_run_pays_nothing_and_has_the_same_numbers(make_maker, structure, store, paid):
    first = finish(make_maker(n_steps=15).make(structure, run_id="first"), store)
    n_paid = len(paid)
    assert n_paid == first.n_labels
    for mode, fuse in (("resident", True), ("chained", True), ("chained", False)):
        run_id = f"{mode}-{fuse}"
        again = finish(
            make_maker(mode, n_steps=15, fuse=fuse).make(structure, run_id=run_id), store
        )
        assert len(paid) == n_paid
        assert numbers(again) == numbers(first)


def test_a_label_job_is_left_out_of_the_chain(make_maker, structure, store):
    finish(make_maker(n_steps=15).make(structure, run_id="first"), store)
    finish(make_maker("chained", n_steps=15).make(structure, run_id="second"), store)
    names = [doc["name"] for doc in store.docs_store.query({}, ["name"])]
    assert not [name for name in names if name.startswith("emt label")]
    assert len(labels_of("second")) > 1


def test_a_label_that_was_found_is_kept_once(make_maker, structure, store):
    finish(make_maker(n_steps=15).make(structure, run_id="first"), store)
    finish(make_maker(n_steps=15).make(structure, run_id="second"), store)
    assert [e.label for e in entries_of("first")] == [e.label for e in entries_of("second")]


def test_reuse_can_be_switched_off(make_maker, structure, store, paid):
    first = finish(make_maker(n_steps=15).make(structure, run_id="first"), store)
    second = finish(
        make_maker(n_steps=15, reuse_labels=False).make(structure, run_id="second"), store
    )
    assert len(paid) == first.n_labels + second.n_labels
    assert numbers(second) == numbers(first)


def test_other_settings_and_other_energies_are_paid_for(make_maker, structure, store, paid):
    first = finish(make_maker(n_steps=10).make(structure, run_id="first"), store)
    other = label_maker("emt", calculator_kwargs={"asap_cutoff": True})
    second = finish(make_maker(n_steps=10, label_maker=other).make(structure, run_id="b"), store)
    assert len(paid) == first.n_labels + second.n_labels
    maker = make_maker(n_steps=10, energy_key="e_0_energy")
    third = finish(maker.make(structure, run_id="c"), store)
    assert len(paid) == first.n_labels + second.n_labels + third.n_labels


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_seeds_follow_the_first_label(mode, make_maker, structure, store, paid):
    finish(make_maker(n_steps=12).make(structure, run_id="old"), store)
    old, n_paid = labels_of("old"), len(paid)
    moved = structure.copy()
    moved.perturb(0.03)
    maker = make_maker(mode, n_steps=12, seed_from=["old"])
    model = finish(maker.make(moved, run_id="new"), store)
    entries = entries_of("new")
    seeds = [entry for entry in entries if entry.reason == "seed"]
    assert [entry.index for entry in seeds] == list(range(1, len(old) + 1))
    assert [entry.label for entry in seeds] == [entry.label for entry in entries_of("old")]
    assert all(entry.error is None and entry.foundation_error is not None for entry in seeds)
    assert model.n_labels == len(entries)
    # paid for: the first label and those that the new run asked for
    assert len(paid) - n_paid == len(entries) - len(seeds)
    space = RunWorkspace(get_settings().ARTIFACT_DIR, "new")
    assert space.read_state().posterior.n_seeds == len(seeds)
    assert space.read_state().posterior.calibration.n <= len(entries) - len(seeds) - 1
    assert space.trainings()[0]["n_labels"] == 1 + len(seeds)


def test_seeds_do_not_count_against_the_limit_of_labels(make_maker, structure, store, paid):
    finish(make_maker(n_steps=12, warmup_interval=2).make(structure, run_id="old"), store)
    old, n_paid = labels_of("old"), len(paid)
    moved = structure.copy()
    moved.perturb(0.03)
    limit = 4
    maker = make_maker(
        n_steps=60, warmup_interval=2, stopping={"max_labels": limit}, seed_from=["old"]
    )
    model = finish(maker.make(moved, run_id="new"), store)
    assert model.state == "stopped"
    assert f"the limit of {limit} labels" in model.stop_reason
    assert model.n_labels == len(old) + limit
    assert len(paid) - n_paid == limit


def test_seeds_of_the_same_configuration_come_once(make_maker, structure, store):
    finish(make_maker(n_steps=10).make(structure, run_id="old"), store)
    maker = make_maker(n_steps=10, seed_from=["old", "old"])
    finish(maker.make(structure, run_id="new"), store)
    seeds = [entry for entry in entries_of("new") if entry.reason == "seed"]
    # the first label of the new run is that of the old one
    assert len(seeds) == len(labels_of("old")) - 1


def test_seeds_that_do_not_fit_are_refused(make_maker, structure, store):
    finish(make_maker(n_steps=5).make(structure, run_id="old"), store)
    bigger = structure.copy()
    bigger.make_supercell([1, 1, 2])
    for run_id, start, message in (
        ("nobody", structure, "there is no run 'nobody'"),
        ("old", bigger, "no label of run 'old' has the atoms"),
    ):
        spec = make_maker(n_steps=5, seed_from=[run_id]).resolved_spec
        with pytest.raises(ValueError, match=message):
            run_loop(new_run(spec, start, run_id=f"new-{run_id}"), [start], label_maker("emt"))
