"""The first audits end a round, so that a model that is too sure of itself is found early."""

from __future__ import annotations

import pytest

from tests.rounds.conftest import copper


def audits_of_rounds(run):
    """Return the audits of each round until the programme is done, and the steps of its end."""
    found = []
    for _ in range(100):
        if run.state.phase in ("close", "publish"):
            return found
        if run.state.phase == "label":
            found.append(sum(r.reason == "audit" for r in run.state.requests))
        run.step()
    raise AssertionError(run.phases)


@pytest.mark.parametrize(
    ("growth", "expected"), [(2.0, [1, 2, 6]), (1.0, [1, 1, 2, 4]), (0.1, [1, 1, 1, 1])]
)
def test_rounds_grow_with_the_audits_that_were_judged(loop, growth, expected):
    run = loop(audit_interval=2, audit_growth=growth, stages=[{"n_steps": 40}])
    rounds = [n for n in audits_of_rounds(run) if n]
    assert rounds[: len(expected)] == expected


def test_without_it_audits_wait_for_the_end_of_the_programme(loop):
    run = loop(audit_interval=2, audit_growth=None, stages=[{"n_steps": 40}])
    rounds = [n for n in audits_of_rounds(run) if n]
    assert len(rounds) == 1
    assert rounds[0] > 6


def test_the_steps_are_those_of_a_run_without_it(loop):
    """An audit that teaches nothing leaves the trajectory as it is, wherever its round ends."""
    ends = []
    for number, growth in enumerate((2.0, None)):
        run = loop(
            run_id=f"r{number}",
            audit_interval=5,
            audit_growth=growth,
            audit_update_fraction=1.0,
            calibration={"shape": 1.5, "rate": 10.0, "surprise": 0.0},
        )
        run.until("close")
        ends.append(run.md_state())
    assert (ends[0]["positions"] == ends[1]["positions"]).all()


def test_several_trajectories_share_the_count(loop):
    starts = [copper(1), copper(2)]
    run = loop(
        structures=starts, walkers=2, audit_interval=2, audit_growth=2.0, stages=[{"n_steps": 20}]
    )
    rounds = [n for n in audits_of_rounds(run) if n]
    assert rounds[0] == 2
    assert rounds[1] in (4, 6)
