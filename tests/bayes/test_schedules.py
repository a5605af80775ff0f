from __future__ import annotations

import pytest

from onfly.bayes import CyclicSchedule


def test_paper_cycle():
    schedule = CyclicSchedule()
    assert schedule.at(0) == (pytest.approx(1e-3, rel=1e-4), 0.0)
    assert schedule.at(399)[1] == 0.0
    assert schedule.at(450)[1] == pytest.approx(0.5)
    assert schedule.at(500)[1] == 1.0
    assert schedule.at(1000)[0] == pytest.approx(0.5e-3, rel=1e-4)
    assert 1e-8 <= schedule.at(1999)[0] < 2e-8
    steps = [schedule.at(i)[0] for i in range(2000)]
    assert steps == sorted(steps, reverse=True)


def test_cycle_without_ramp_or_noise():
    assert CyclicSchedule(10, ramp=0.0, burn_in=0.0).at(0)[1] == 1.0
    assert all(CyclicSchedule(10, burn_in=1.0).at(i)[1] == 0.0 for i in range(10))


def test_warm_up():
    plain, warm = CyclicSchedule(100), CyclicSchedule(100, warm_up=0.2)
    for i in range(20):
        assert warm.at(i)[0] == pytest.approx(plain.at(i)[0] * (i + 1) / 20, abs=1e-8)
    assert [warm.at(i) for i in range(20, 100)] == [plain.at(i) for i in range(20, 100)]


@pytest.mark.parametrize(
    "bad",
    [
        {"warm_up": -0.1},
        {"n_steps": 0},
        {"step_size": 0.0},
        {"step_size": float("nan")},
        {"burn_in": 1.2},
    ],
)
def test_impossible_cycles_are_refused(bad):
    with pytest.raises(ValueError):
        CyclicSchedule(**bad)
