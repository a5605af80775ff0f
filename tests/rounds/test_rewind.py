"""A label that broke a tolerance: the MD goes back to the last place that kept it."""

from __future__ import annotations

import numpy as np

from onfly.rounds.judge import Answer
from tests.rounds.conftest import ALWAYS_UNSURE, copper, off

STAGES = [{"n_steps": 40, "temperature": 300.0, "time_step": 2.0}]
SETTINGS = {"audit_interval": 4, "audit_growth": None, "stages": STAGES, "traj_interval": 1}


def steps_of(run, index=0):
    folder = run.session.workspace(run.run_id).trajectory(index)
    rows = [r for p in folder.thermo_files() for r in p.read_text().splitlines()[1:]]
    return [int(row.split(",")[0]) for row in rows]


def broken_at(steps, energy=1e4):
    """Let the first audits of these steps lie far from any prediction."""
    left = set(steps)

    def wrong(request, answer):
        if request.reason != "audit" or request.md_step not in left:
            return answer
        left.remove(request.md_step)
        label = answer.output
        return Answer(label.model_copy(update={"energy": label.energy + energy}))

    return wrong


def audit_steps(loop, **settings):
    run = loop(run_id="look", **SETTINGS | settings)
    run.until("label")
    run.step()
    run.until("label")
    return [r.md_step for r in run.state.due]


def judged(loop, steps, run_id="r", **settings):
    """Return a run whose first round of audits was judged, with errors at some of them."""
    run = loop(broken_at(steps), run_id=run_id, **SETTINGS | settings)
    run.until("label")  # the initial one
    run.step()
    run.until("label")
    run.step()
    return run


def test_the_md_goes_back_to_the_last_audit_that_was_good(loop):
    audits = audit_steps(loop)
    run = judged(loop, [audits[5]])
    trajectory = run.trajectory
    assert (trajectory.md_step, trajectory.n_redone) == (audits[4], 40 - audits[4])
    assert not trajectory.done
    assert int(run.md_state()["step"]) == audits[4]
    assert np.linalg.norm(run.md_state()["momenta"]) > 0
    assert steps_of(run) == list(range(1, audits[4] + 1))
    # the others are taken again, with the weights that learned it
    before = run.state.posterior.ensemble.generation
    run.until("explore")
    assert run.state.posterior.ensemble.generation > before
    run.step()
    assert run.trajectory.md_step > audits[4] or run.trajectory.called
    assert steps_of(run) == list(range(1, run.trajectory.md_step + 1))


def test_what_was_taken_twice_is_kept_aside(loop):
    audits = audit_steps(loop)
    run = judged(loop, [audits[5]])
    folder = run.session.workspace("r").trajectory(0).folder / "redone"
    (thermo,) = (folder / "thermo").iterdir()
    (frames,) = (folder / "trajectory").iterdir()
    rows = thermo.read_text().splitlines()
    assert rows[0].startswith("step,")
    assert [int(r.split(",")[0]) for r in rows[1:]] == list(range(audits[4] + 1, 41))
    assert frames.read_text().count("Lattice=") == 40 - audits[4]


def test_the_same_steps_follow_from_the_same_state(loop):
    """Without an update nothing has changed: the steps are the same, and so is what they ask."""
    audits = audit_steps(loop)
    run = judged(loop, [audits[5]], redo_steps=40)
    judged(loop, [], run_id="plain")
    back = run.session.workspace("r").load_md_state(run.trajectory.md_state)
    state = run.session.workspace("plain").trajectory(0).trajectory_files()[0].read_text()
    line = next(x for x in state.splitlines() if f"step={audits[4]} " in x)
    at = state.splitlines().index(line)
    first_atom = [float(x) for x in state.splitlines()[at + 1].split()[1:4]]
    assert np.allclose(back["positions"][0], first_atom, atol=1e-7)


def test_audits_are_close_again_after_an_error(loop):
    audits = audit_steps(loop, audit_thinning=0.5)
    assert len(audits) < 10  # of the ten stretches some are left out
    run = judged(loop, [audits[-1]], audit_thinning=0.5)
    assert run.trajectory.audits_from == run.trajectory.md_step == audits[-2]
    good = judged(loop, [], run_id="good", audit_thinning=0.5)
    assert good.trajectory.audits_from == 0
    # also where the MD does not go back
    stays = judged(loop, [audits[-1]], run_id="stays", audit_thinning=0.5, redo_steps=0)
    assert stays.trajectory.audits_from == stays.trajectory.md_step == 40


def test_without_a_good_audit_it_goes_back_to_the_start_of_the_round(loop):
    audits = audit_steps(loop)
    run = judged(loop, [audits[0]])
    assert run.trajectory.md_step == 0
    assert steps_of(run) == []


def test_errors_far_back_are_not_redone(loop):
    audits = audit_steps(loop)
    run = judged(loop, [audits[2]], redo_steps=10)
    assert (run.trajectory.md_step, run.trajectory.n_redone) == (40, 0)


def test_a_state_that_is_missing_stops_nothing(loop, caplog):
    audits = audit_steps(loop)
    run = loop(broken_at([audits[5]]), **SETTINGS)
    run.until("label")
    run.step()
    run.until("label")
    for request in run.state.due:
        run.session.workspace("r").store.path(request.place.md_state).unlink()
    run.step()
    assert run.trajectory.md_step == 40
    assert "is missing" in caplog.text
    run.until("explore", "close")


def test_zero_never_goes_back(loop):
    audits = audit_steps(loop)
    run = judged(loop, [audits[5]], redo_steps=0)
    assert (run.trajectory.md_step, run.trajectory.n_redone) == (40, 0)
    assert steps_of(run) == list(range(1, 41))


def test_no_step_is_taken_a_third_time(loop):
    run = loop(off("audit"), **SETTINGS)
    run.until("close", limit=200)
    # each stretch of steps at most twice, though all of its audits are bad
    assert run.trajectory.n_redone <= 40
    assert steps_of(run) == list(range(1, 41))


def test_a_call_after_every_step_leaves_nothing_to_take_again(loop):
    def wrong(request, answer):
        if request.reason != "uncertain" or request.md_step == 1:
            return answer
        label = answer.output
        return Answer(label.model_copy(update={"energy": label.energy + 1e4}))

    run = loop(wrong, look_ahead_labels=0, **SETTINGS | ALWAYS_UNSURE | {"stopping": {}})
    while not run.state.trajectories or run.trajectory.md_step < 3:
        run.step()
    # rounds of single steps: the forces of each label are used at once
    assert run.trajectory.n_redone == 0


def test_each_trajectory_goes_back_alone(loop):
    starts = [copper(1), copper(2)]
    many = {"walkers": 2, "initial_labels": 2}
    run = loop(structures=starts, run_id="look", **SETTINGS | many)
    run.until("label")
    run.step()
    run.until("label")
    bad = [r.md_step for r in run.state.due if r.trajectory == 1][4]

    def wrong(request, answer):
        if request.reason != "audit" or (request.trajectory, request.md_step) != (1, bad):
            return answer
        label = answer.output
        return Answer(label.model_copy(update={"energy": label.energy + 1e4}))

    run = loop(wrong, structures=starts, **SETTINGS | many)
    run.until("label")
    run.step()
    run.until("label")
    run.step()
    first, second = run.state.trajectories
    assert first.md_step == 40
    assert second.md_step < bad
    assert steps_of(run, 1) == list(range(1, second.md_step + 1))


def test_a_judge_that_was_killed_comes_to_the_same(loop):
    audits = audit_steps(loop)
    run = loop(broken_at([audits[5]]), **SETTINGS)
    run.until("label")
    run.step()
    before = run.until("label")
    run.wrong = broken_at([audits[5]])
    once = run.step()
    run.state, run.wrong = before, broken_at([audits[5]])
    again = run.step()
    told = {"cpu_seconds"}
    assert again.trajectories[0].model_dump(exclude=told) == once.trajectories[0].model_dump(
        exclude=told
    )
