"""How a run begins: first configurations, walkers, and the settings that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from onfly.testing.models import toy_spec
from tests.rounds.conftest import copper


def test_the_first_configurations_lie_along_foundation_md(loop):
    run = loop(initial_labels=3, initial_steps=4)
    state = run.step()
    assert state.phase == "label"
    assert state.posterior.n_waits == 1
    assert [(r.reason, r.md_step) for r in state.due] == [
        ("initial", 0), ("initial", -4), ("initial", -8),
    ]  # fmt: skip
    run.step()
    state = run.until("explore")
    assert [entry.reason for entry in run.ledger.entries] == ["initial"] * 3
    assert run.ledger.n_learned == 3
    assert state.posterior.n_waits == 1


def test_walkers_have_velocities_of_their_own_and_share_the_first_label(loop):
    run = loop(walkers=2)
    state = run.step()
    assert len(state.due) == 1
    first, second = (run.md_state(t) for t in state.trajectories)
    assert np.array_equal(first["positions"], second["positions"])
    assert not np.allclose(first["momenta"], second["momenta"])
    state = run.until("explore")
    # both begin with the forces of the label
    one, two = (run.md_state(t) for t in state.trajectories)
    assert np.array_equal(one["forces"], two["forces"])
    assert not np.array_equal(one["forces"], first["forces"])


def test_walkers_start_where_the_foundation_led_them(loop):
    run = loop(walkers=3, initial_labels=4, initial_steps=4)
    state = run.step()
    assert [(r.trajectory, r.md_step) for r in state.due] == [(0, 0), (0, -4), (1, -4), (2, -4)]
    starts = [run.md_state(t)["positions"] for t in state.trajectories]
    asked = [run.session.workspace("r").load_md_state(r.structure)["positions"] for r in state.due]
    for start, position in zip(starts, [asked[0], asked[2], asked[3]], strict=True):
        assert np.array_equal(start, position)
    assert [int(run.md_state(t)["step"]) for t in state.trajectories] == [0, 0, 0]
    before = [run.md_state(t)["forces"] for t in state.trajectories]
    state = run.until("explore")
    # each begins with the forces of its own label
    after = [run.md_state(t)["forces"] for t in state.trajectories]
    assert all(not np.array_equal(a, b) for a, b in zip(after, before, strict=True))
    assert run.until("publish").md_step >= 36


def test_each_structure_is_labelled(loop):
    run = loop(walkers=2, structures=[copper(1), copper(2)])
    state = run.step()
    assert [r.trajectory for r in state.due] == [0, 1]
    states = [run.md_state(t)["positions"] for t in state.trajectories]
    assert not np.array_equal(*states)


def test_structures_must_fit_the_walkers_and_each_other(loop):
    with pytest.raises(ValueError, match="2 structures for 3 trajectories"):
        loop(walkers=3, structures=[copper(1), copper(2)]).step()
    other = copper(2)
    other.replace(0, "Au")
    with pytest.raises(ValueError, match="same atoms in the same order"):
        loop(walkers=2, structures=[copper(1), other]).step()


def test_auto_is_measured_once_and_recorded(loop):
    run = loop(strategy="auto", audit_interval=4, audit_update_fraction=0.0)
    assert run.step().posterior.ensemble.strategy in ("sequential", "stacked")
    chosen = run.state.posterior.ensemble.strategy
    seen = set()
    while run.state.phase != "publish":
        run.step()
        seen.add(run.state.posterior.ensemble.strategy)
        predictor = run.session.open(run.state.posterior).predictor()
        assert predictor.strategy == chosen  # settled before it is used
    assert seen == {chosen}
    assert run.state.posterior.ensemble.generation > 1


def test_the_first_label_must_come(loop):
    from onfly.labels.errors import LabelError
    from tests.rounds.conftest import failing

    run = loop(wrong=failing("initial"))
    run.step()
    with pytest.raises(LabelError, match="nothing to go on from: no convergence"):
        run.step()


def test_a_calibration_shape_without_a_rate_is_refused():
    with pytest.raises(ValueError, match="shape and rate belong together: give rate"):
        toy_spec(calibration={"shape": 2.0})


def test_guards_time_step_and_audits_are_recorded(loop):
    settings = {"guards": {"min_distance": 0.4}, "time_step": 1.5, "audit_interval": 0}
    model = loop(**settings).verdict()
    assert model.spec["guards"]["min_distance"] == 0.4
    assert model.spec["trajectories"]["time_step"] == 1.5
    assert model.spec["rounds"]["audit_interval"] == 0


def test_a_process_loads_the_foundation_once(loop, monkeypatch):
    from onfly.learning import target

    target._loaded.cache_clear()
    loads = []
    load = target.load_foundation
    monkeypatch.setattr(target, "load_foundation", lambda *a, **k: loads.append(a) or load(*a, **k))
    loop(seed=5).until("publish")
    assert len(loads) == 1
