"""A run's predictor knows what the fit left of the labels that were learned, and of no other."""

from __future__ import annotations

import numpy as np
import pytest

from onfly.schemas import to_atoms

LAST_LAYER = {"kind": "last_layer", "n_steps": 10}


def test_errors_left_are_those_of_the_learned_labels(loop):
    run = loop(posterior=LAST_LAYER, warmup_labels=3, warmup_interval=2, look_ahead_labels=0)
    run.until("learn")
    run.step()
    # the first update has seen no label that was predicted before
    assert run.session.open(run.state.posterior).predictor().near is None
    run.until("learn")
    run.step()
    work = run.session.open(run.state.posterior)
    predictor, labels = work.predictor(), work.labels()
    assert len(predictor.near.left) == len(labels) == run.state.posterior.ensemble.n_labels
    assert predictor.near.force_error > 0
    for label, left in zip(labels, predictor.near.left, strict=True):
        atoms = to_atoms(label.structure)
        predicted = predictor.predict(atoms).energy - work.offset
        assert left == pytest.approx(predicted - label.energy, abs=1e-5)
        assert predictor.near.variance(atoms) <= left**2 + 1e-12


def test_labels_that_wait_to_be_learned_say_nothing(loop):
    run = loop(posterior=LAST_LAYER, warmup_labels=2, warmup_interval=2, look_ahead_labels=0)
    for _ in range(2):
        run.until("learn")
        run.step()
    n_learned = run.state.posterior.ensemble.n_labels
    run.until("label")
    run.step()
    work = run.session.open(run.state.posterior)
    assert len(work.labels()) > n_learned
    assert len(work.predictor().near.left) == n_learned


@pytest.mark.parametrize(
    "posterior", [LAST_LAYER | {"near_labels": False}, {"kind": "sghmc", "n_steps": 10}]
)
def test_can_be_left_out(loop, posterior):
    run = loop(posterior=posterior, warmup_labels=2, warmup_interval=2)
    for _ in range(2):
        run.until("learn")
        run.step()
    assert run.session.open(run.state.posterior).predictor().near is None
    assert np.isfinite(run.state.posterior.energy_offset)
