"""What stops a trajectory, what does not, and what a killed segment asks for again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from onfly.rounds.explore import explore
from tests.rounds.conftest import ALWAYS_UNSURE


def csv_steps(run, index=0):
    (folder,) = [
        f for f in run.session.workspace(run.run_id).trajectory_folders() if f.index == index
    ]
    rows = [line for path in folder.thermo_files() for line in path.read_text().splitlines()[1:]]
    return [int(row.split(",")[0]) for row in rows]


def test_an_audit_does_not_stop_the_md(loop):
    run = loop(audit_interval=1)
    run.until("explore")
    state = run.step()
    assert [r.md_step for r in state.requests] == list(range(1, 13))
    assert {r.reason for r in state.requests} == {"audit"}
    assert state.trajectories[0].done
    # all labels of the round are one wait
    assert state.posterior.n_waits == 2


def test_audits_change_no_step(loop):
    plain, audited = loop(run_id="a"), loop(run_id="b", audit_interval=2)
    for run in (plain, audited):
        run.until("explore")
        run.step()
    assert np.array_equal(plain.md_state()["positions"], audited.md_state()["positions"])


def test_a_call_stops_its_own_trajectory_only(loop):
    run = loop(walkers=2)
    run.until("explore")
    posterior = run.state.posterior
    tight = posterior.model_copy(
        update={"spec": posterior.spec.evolve(tolerance=({"quantity": "energy", "value": 1e-9},))}
    )
    called = explore(run.session, tight, run.state.trajectories[0])
    other = explore(run.session, posterior, run.state.trajectories[1])
    assert (called.md_step, called.called) == (0, True)
    assert (other.md_step, other.called, other.done) == (12, False, True)
    request = called.requests[0]
    assert (request.reason, request.md_step) == ("uncertain", 1)
    assert request.quantity == "energy"


def test_a_called_step_is_taken_with_the_label(loop):
    run = loop(**ALWAYS_UNSURE)
    run.until("explore")
    run.step()
    run.until("explore")
    moved = run.step().trajectories[0]
    assert moved.md_step >= 1
    assert csv_steps(run)[0] == 1
    rows = (run.session.workspace("r").trajectory(0).thermo_files()[1]).read_text()
    assert rows.splitlines()[1].endswith(",label")


def test_a_round_is_as_long_as_the_user_says(loop):
    run = loop(round_length=5)
    steps = []
    while run.until("explore", "close").phase == "explore":
        steps.append(run.step().md_step)
    assert steps == [5, 10, 12]


def test_what_a_stage_asked_for_is_learned_before_the_next(loop):
    stages = [{"n_steps": 6, "temperature": t, "time_step": 2.0} for t in (300.0, 600.0)]
    run = loop(stages=stages, audit_interval=2)
    run.until("explore")
    state = run.step()
    assert state.md_step == 6
    assert state.phase == "label"


def test_the_warm_up_asks_until_labels_count(loop):
    run = loop(warmup_labels=2, warmup_interval=3)
    run.until("explore")
    state = run.step()
    assert [(r.reason, r.md_step) for r in state.requests] == [("warmup", 3), ("warmup", 6)]
    assert not state.trajectories[0].done
    run.until("explore")
    assert run.step().requests == ()


def test_a_killed_segment_asks_for_the_same(loop):
    settings = {"audit_interval": 2, "checkpoint_interval": 5, "traj_interval": 0}
    whole = loop(run_id="a", **settings)
    whole.until("explore")
    expected = explore(whole.session, whole.state.posterior, whole.trajectory)

    cut = loop(run_id="b", **settings)
    cut.until("explore")
    before = cut.state
    from onfly.rounds import explore as module

    count = 0
    moved = module._Segment._moved

    def killed(self, event):
        nonlocal count
        count += 1
        if count == 9:
            raise KeyboardInterrupt
        moved(self, event)

    module._Segment._moved = killed
    try:
        with pytest.raises(KeyboardInterrupt):
            explore(cut.session, before.posterior, before.trajectories[0])
    finally:
        module._Segment._moved = moved
    again = explore(cut.session, before.posterior, before.trajectories[0])
    # files lie in the folders of the two runs
    told = {"structure": {"path"}, "place": {"md_state": {"path"}}}
    one, other = ([r.model_dump(exclude=told) for r in t.requests] for t in (again, expected))
    assert one == other
    assert len(again.requests) > 2
    assert again.md_state.sha256 == expected.md_state.sha256
    assert csv_steps(cut) == list(range(1, 13))


@pytest.mark.parametrize(("n_cuts", "walkers"), [(1, 1), (3, 1), (3, 3)])
def test_the_walltime_cuts_a_round_and_changes_no_number(loop, n_cuts, walkers, monkeypatch):
    settings = {"audit_interval": 2, "walkers": walkers, "initial_labels": walkers}
    whole = loop(run_id="a", **settings)
    whole.until("publish")
    cut = loop(run_id="b", **settings, max_walltime=1e5)
    from onfly.rounds import explore as module

    cuts = 0

    def clock():  # the deadline has passed at every third look, for a few times
        nonlocal cuts
        cuts += 1
        return 1e9 * cuts if cuts in (3, 7, 11)[:n_cuts] else 0.0

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock, process_time=lambda: 0.0))
    cut.until("publish")
    # two trajectories may be cut in the same call
    least = n_cuts if walkers == 1 else 1
    assert least <= cut.phases.count("explore") - whole.phases.count("explore") <= n_cuts
    assert cut.state.posterior.n_waits == whole.state.posterior.n_waits
    assert [e.model_dump() for e in cut.ledger.entries] == [
        e.model_dump() for e in whole.ledger.entries
    ]
    for one, other in zip(cut.state.trajectories, whole.state.trajectories, strict=True):
        assert (
            cut.md_state(one)["positions"].tolist() == whole.md_state(other)["positions"].tolist()
        )
    assert cut.state.posterior.stop_reason == whole.state.posterior.stop_reason


def test_quiet_steps_lead_to_the_proof(loop):
    run = loop(stopping={"quiet_steps": 5})
    state = run.until("close")
    assert state.md_step == 5
    assert run.until("publish").posterior.stop_reason.startswith("closing block 1 passed")


def test_npt_berendsen_with_audits_ends(loop):
    stages = [
        {"n_steps": 12, "temperature": 300.0, "time_step": 2.0, "ensemble": "npt",
         "pressure": 0.0, "dynamics": "berendsen"},
    ]  # fmt: skip

    def wrong(request, answer):
        stress = [[0.001, 0, 0], [0, 0.001, 0], [0, 0, 0.001]]
        return type(answer)(answer.output.model_copy(update={"stress": stress}))

    run = loop(wrong, stages=stages, audit_interval=3)
    run.until("explore")
    state = run.step()
    # judged once per step: no step is audited twice, and the stage is at its end
    assert len({r.md_step for r in state.requests}) == len(state.requests) > 0
    assert state.trajectories[0].done
    run.until("publish")


def ahead(run):
    run.until("explore")
    return run.step().trajectories[0]


def test_a_call_takes_what_lies_behind_it_along(loop):
    run = loop(**ALWAYS_UNSURE, look_ahead_labels=2, look_ahead_steps=3)
    trajectory = ahead(run)
    assert [(r.reason, r.md_step) for r in trajectory.requests] == [
        ("uncertain", 1), ("ahead", 4), ("ahead", 7),
    ]  # fmt: skip
    # the trajectory waits at its call: one wait for all three
    assert (trajectory.md_step, trajectory.called) == (0, True)
    assert run.state.posterior.n_waits == 2
    assert csv_steps(run) == []
    state = run.until("explore")
    entries = run.ledger.entries
    assert [entry.reason for entry in entries[1:]] == ["uncertain", "ahead", "ahead"]
    assert all(entry.error is not None for entry in entries[1:])
    assert run.ledger.n_learned == 4
    # none of them is a call or an audit, but all of them calibrate
    assert (state.posterior.n_calls, state.posterior.n_audits) == (1, 0)
    assert state.posterior.calibration.n == 3
    assert state.trajectories[0].last_label_step == 1


def test_a_look_ahead_follows_the_way_of_the_model(loop):
    run = loop(**ALWAYS_UNSURE, look_ahead_labels=1, look_ahead_steps=3)
    trajectory = ahead(run)
    free = loop(run_id="free")
    free.until("explore")
    before = free.state
    posterior = before.posterior
    # the same weights without a call, up to the step of the look ahead
    spec = posterior.spec.evolve(rounds={"length": 4})
    moved = explore(
        free.session, posterior.model_copy(update={"spec": spec}), before.trajectories[0]
    )
    asked = run.session.workspace("r").load_md_state(trajectory.requests[1].structure)
    assert moved.md_step == 4
    np.testing.assert_allclose(asked["positions"], free.md_state(moved)["positions"], atol=1e-10)


def test_only_what_would_be_called_is_labelled_ahead(loop):
    run = loop(look_ahead_labels=3, look_ahead_steps=2)
    run.until("explore")
    posterior, trajectory = run.state.posterior, run.state.trajectories[0]
    # far above what the ensemble doubts, but for the first step
    from onfly.rounds import explore as module

    segment = module._Segment(run.session, posterior, trajectory, module.ExploreOptions())
    segment._look_ahead(3)
    assert segment.requests == []


def test_no_look_ahead_beyond_the_programme(loop):
    run = loop(**ALWAYS_UNSURE, look_ahead_labels=9, look_ahead_steps=4)
    assert [r.md_step for r in ahead(run).requests] == [1, 5, 9]


def test_two_calls_may_look_at_the_same_step(loop):
    run = loop(**ALWAYS_UNSURE, look_ahead_labels=2, look_ahead_steps=1)
    labels = {}
    for _ in range(3):
        for request in ahead(run).requests:
            labels.setdefault((request.md_step, request.reason), set()).add(request.key)
    assert max(len(keys) for keys in labels.values()) > 1
    for entry in run.ledger.entries:
        assert entry.label is not None
    # each label belongs to the configuration that was asked for
    energies = [run.session.labels.get(e.label).energy for e in run.ledger.entries]
    assert len(set(energies)) == len(energies)
