"""A closing block that is expected to fail is not labelled; the run explores on."""

from __future__ import annotations

import pytest

from onfly.rounds.doubt import expected_failures
from onfly.rounds.programme import programme
from onfly.rounds.reopen import ReopenError, reopen
from tests.rounds.conftest import SMALL_PROOF

# a calibration that takes errors for 26 times the std, and a criterion that lets them pass
DOUBTFUL: dict = {
    "calibration": {"shape": 1.5, "rate": 1000.0, "surprise": 0.0},
    "max_probability": 0.99,
    # of a tenth of the tolerance
    "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 10, "energy_weight": "paper"},
}


def workspace(run):
    return run.session.workspace(run.run_id)


def block(run):
    """Move a run to the end of the MD of its first closing block."""
    run.until("close")
    while run.state.posterior.attempt is None:
        run.step()
    return run.step()


def test_its_labels_are_saved(loop):
    run = loop(**DOUBTFUL)
    state = block(run)
    # back to exploring: as long as the block, under its conditions
    assert (state.phase, state.posterior.attempt) == ("explore", None)
    assert state.posterior.n_extensions == 1
    assert state.posterior.n_labels == 1
    (trajectory,) = state.trajectories
    assert trajectory.extended
    assert trajectory.requests == ()
    assert (trajectory.md_step, trajectory.origin, trajectory.n_steps) == (22, 22, 32)
    assert sum(stage.n_steps for stage in programme(state.posterior, trajectory)) == 10


def test_only_so_often_as_there_are_attempts(loop):
    run = loop(**DOUBTFUL)
    model = run.verdict()
    assert run.state.posterior.n_extensions == 1 == SMALL_PROOF["attempts"]
    # the next block is labelled: what is expected of it is no verdict
    assert model.state == "ready"
    steps = [entry.step for entry in run.ledger.closing(0)]
    assert min(steps) > 32
    assert model.n_steps == 42


def test_a_block_without_doubt_is_labelled(loop):
    run = loop()
    block(run)
    assert run.state.phase == "label"
    assert expected_failures(workspace(run), run.state) < 1e-3
    assert run.verdict().state == "ready"
    assert run.state.posterior.n_extensions == 0


def test_steps_that_were_not_reached_are_expected_to_fail(loop):
    run = loop()
    state = block(run)
    (trajectory,) = state.trajectories
    longer = trajectory.model_copy(update={"n_steps": trajectory.n_steps + 10})
    state = state.with_trajectories([longer])
    assert expected_failures(workspace(run), state) == pytest.approx(0.5, abs=1e-3)


def test_a_block_that_a_guard_stops_is_dropped(loop):
    run = loop()
    run.until("close")
    while run.state.posterior.attempt is None:
        run.step()
    spec = run.state.posterior.spec
    cold = spec.evolve(guards=spec.guards.evolve(max_temperature=1.0))
    run.state = run.state.evolve(spec=cold)
    state = run.step()
    assert (state.phase, state.posterior.attempt) == ("explore", None)
    run.state = state.evolve(spec=spec)
    # exploring, the danger is asked about, and learned
    assert run.verdict().state == "ready"


def test_all_trajectories_count(loop):
    run = loop(**DOUBTFUL, walkers=2)
    state = block(run)
    assert [t.extended for t in state.trajectories] == [True, True]
    assert state.posterior.n_labels == 1
    assert run.verdict().n_steps == sum(t.md_step for t in run.state.trajectories)


def test_what_is_learned_between_blocks_is_learned_before_the_next(loop):
    run = loop(**DOUBTFUL, audit_interval=2)
    block(run)
    before = run.state.posterior.n_labels
    run.until("close")
    found = [e for e in run.ledger.entries if e.step > 22]
    assert run.state.posterior.n_labels > before
    assert {entry.reason for entry in found} == {"audit"}
    assert run.ledger.unlearned == ()


def test_settings_of_a_run_between_blocks(loop):
    run = loop(**DOUBTFUL)
    state = block(run)
    spec = state.posterior.spec
    stages = [*spec.trajectories.stages, spec.trajectories.stages[0]]
    more = spec.evolve(trajectories={"stages": stages})
    with pytest.raises(ReopenError, match="a closing block is under way"):
        reopen(state, more, run.ledger)
    kept = reopen(state, spec.evolve(stopping={"max_failures": 9}), run.ledger)
    assert kept.trajectories == state.trajectories
