"""What one run has paid for, no other run pays for again, and no number changes by it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jobflow import run_locally

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.known_labels import known_label
from onfly.labels.ase import AseLabelMaker
from onfly.labels.presets import label_maker
from onfly.schemas import LabelDoc
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


def labels_of(run_id):
    return RunWorkspace(get_settings().ARTIFACT_DIR, run_id).labels()


def numbers(model):
    keys = ("index", "reason", "md_step", "energy", "forces", "stress", "predicted_energy",
            "predicted_std", "probability", "force_rmse", "foundation_force_rmse")  # fmt: skip
    labels = [[json.dumps(x.model_dump()[k]) for k in keys] for x in labels_of(model.run_id)]
    return labels, [m.sha256 for m in model.ensemble.members], model.calibration


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
    assert [name for name in names if name.startswith("emt label")] == ["emt label 0"]
    assert len(labels_of("second")) > 1


def test_a_label_that_was_found_keeps_who_made_it(make_maker, structure, store):
    finish(make_maker(n_steps=15).make(structure, run_id="first"), store)
    finish(make_maker(n_steps=15).make(structure, run_id="second"), store)
    for old, new in zip(labels_of("first"), labels_of("second"), strict=True):
        assert (new.dir_name, new.created_at) == (old.dir_name, old.created_at)
        assert "first" in new.dir_name
        assert new.run_id == "second"


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
    maker = make_maker(n_steps=10)
    maker.energy_key = "e_0_energy"
    third = finish(maker.make(structure, run_id="c"), store)
    assert len(paid) == first.n_labels + second.n_labels + third.n_labels


def test_a_disk_that_refuses_does_not_stop_the_run(make_maker, structure, store, caplog):
    root = get_settings().ARTIFACT_DIR
    root.mkdir(parents=True)
    (root / "labels").write_text("in the way")
    model = finish(make_maker(n_steps=10).make(structure, run_id="r"), store)
    assert model.n_steps == 10
    assert "is not shared" in caplog.text


def test_a_label_survives_the_store_between_jobs(make_maker, structure, store):
    """A manager other than `run_locally` reads the label from the document of the next job."""
    from monty.json import MontyDecoder, jsanitize

    finish(make_maker(n_steps=10).make(structure, run_id="r"), store)
    maker = make_maker()
    run = RunWorkspace(get_settings().ARTIFACT_DIR, "r").read_run()
    label = known_label(run, structure, maker.label_maker)
    job = maker.segment_maker.make(run, label)
    document = json.loads(json.dumps(jsanitize(job, strict=True, enum_values=True)))
    read = MontyDecoder().process_decoded(document).function_args[1]
    assert isinstance(read, LabelDoc)
    assert read.forces == label.forces
    np.testing.assert_array_equal(read.structure.cart_coords, label.structure.cart_coords)


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_seeds_follow_the_first_label(mode, make_maker, structure, store, paid):
    finish(make_maker(n_steps=12).make(structure, run_id="old"), store)
    old = labels_of("old")
    n_paid = len(paid)
    moved = structure.copy()
    moved.perturb(0.03)
    maker = make_maker(mode, n_steps=12)
    maker.initial_maker.seed_from = ["old"]
    model = finish(maker.make(moved, run_id="new"), store)
    new = labels_of("new")
    seeds = [label for label in new if label.reason == "seed"]
    assert [label.index for label in seeds] == list(range(1, len(old) + 1))
    assert [label.energy for label in seeds] == [label.energy for label in old]
    assert [label.forces for label in seeds] == [label.forces for label in old]
    assert all(label.error is None and label.run_id == "new" for label in seeds)
    assert all(label.foundation_energy is not None for label in seeds)
    assert model.n_labels == len(new)
    # paid for: the first label and those that the new run asked for
    assert len(paid) - n_paid == len(new) - len(seeds)
    run = RunWorkspace(get_settings().ARTIFACT_DIR, "new").read_run()
    assert run.calibration.n <= len(new) - len(seeds) - 1
    training = RunWorkspace(get_settings().ARTIFACT_DIR, "new").trainings()
    assert training[0]["n_labels"] == 1 + len(seeds)


def test_seeds_do_not_count_against_the_limit_of_labels(make_maker, structure, store, paid):
    from onfly.dynamics.stopping import StoppingRule

    finish(make_maker(n_steps=12, warmup_interval=2).make(structure, run_id="old"), store)
    old, n_paid = labels_of("old"), len(paid)
    moved = structure.copy()
    moved.perturb(0.03)
    limit = len(old) - 1
    maker = make_maker(n_steps=60, warmup_interval=2, stopping=StoppingRule(max_labels=limit))
    maker.initial_maker.seed_from = ["old"]
    model = finish(maker.make(moved, run_id="new"), store)
    assert model.stop_reason == f"the limit of {limit} labels is reached"
    assert model.n_labels == len(old) + limit
    assert len(paid) - n_paid == limit


def test_the_first_label_of_a_chain_is_paid_for_if_reuse_is_off_or_settings_differ(
    make_maker, structure, store, paid
):
    finish(make_maker(n_steps=5).make(structure, run_id="first"), store)
    n_paid = len(paid)
    flow = make_maker("chained", n_steps=5).make(structure, run_id="again")
    assert flow.jobs[0].name == "emt label 0"
    assert isinstance(run_first(flow, store), LabelDoc)
    assert len(paid) == n_paid
    run_first(make_maker("chained", reuse_labels=False).make(structure, run_id="b"), store)
    assert len(paid) == n_paid + 1
    other = label_maker("emt", calculator_kwargs={"asap_cutoff": True})
    run_first(make_maker("chained", label_maker=other).make(structure, run_id="c"), store)
    assert len(paid) == n_paid + 2


def run_first(flow, store):
    """Run the first job of a chain alone and return its output as the next job gets it."""
    job = flow.jobs[0]
    job.run(store)
    return job.output.resolve(store)


def test_seeds_of_the_same_configuration_come_once(make_maker, structure, store):
    finish(make_maker(n_steps=10).make(structure, run_id="old"), store)
    maker = make_maker(n_steps=10)
    maker.initial_maker.seed_from = ["old", "old"]
    finish(maker.make(structure, run_id="new"), store)
    seeds = [label for label in labels_of("new") if label.reason == "seed"]
    # the first label of the new run is that of the old one
    assert len(seeds) == len(labels_of("old")) - 1


def test_seeds_that_do_not_fit_are_refused(make_maker, structure, store):
    finish(make_maker(n_steps=5).make(structure, run_id="old"), store)
    bigger = structure.copy()
    bigger.make_supercell([1, 1, 2])
    maker = make_maker(n_steps=5)
    for run_id, start, message in (
        ("nobody", structure, "there is no run 'nobody'"),
        ("old", bigger, "no label of run 'old' has the composition"),
    ):
        maker.initial_maker.seed_from = [run_id]
        with pytest.raises(RuntimeError):
            finish(maker.make(start, run_id=f"new-{run_id}"), store)
        with pytest.raises(ValueError, match=message):
            maker.initial_maker.start(
                maker.new_run(start, f"direct-{run_id}"), start, maker.label_maker.run(start)
            )


def test_the_keys_of_the_configuration_file():
    from onfly.flows.config import RunConfig

    keys = {
        "structure": "POSCAR",
        "threshold": "50 meV",
        "labeller": "emt",
        "stages": [{"n_steps": 5}],
        "seed_from": ["old"],
        "reuse_labels": False,
    }
    maker = RunConfig.model_validate(keys).maker()
    assert maker.initial_maker.seed_from == ["old"]
    assert maker.segment_maker.reuse_labels is False
    plain = {k: v for k, v in keys.items() if k not in ("seed_from", "reuse_labels")}
    assert RunConfig.model_validate(plain).maker().segment_maker.reuse_labels is True
