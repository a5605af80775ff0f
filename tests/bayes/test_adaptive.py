from __future__ import annotations

import functools

import pytest
import torch
from targets import PairPotential, cycle, linear_target, pair_target

from onfly.bayes import CyclicSchedule, Plateau, SGHMCPosterior


def watch(values, newest=None, min_steps=1, burn_in=0.2, n_steps=20_000):
    """Feed a sequence of log-likelihoods; return the step of the plateau and the new schedule."""
    plateau, schedule = Plateau(min_steps), CyclicSchedule(n_steps, burn_in=burn_in)
    for i, value in enumerate(values, start=1):
        plateau.add(torch.tensor(value))
        if plateau.is_due(i, schedule):
            latest = value if newest is None else newest[i - 1]
            if plateau.reached(torch.tensor(latest)):
                return i, plateau.shorten(i, schedule)
    return None, schedule


def test_a_fit_that_saturates_ends_the_burn_in():
    values = [-2e4 * 0.98**i for i in range(3000)]
    step, schedule = watch(values)
    assert 200 < step < 1000
    assert schedule.n_steps == pytest.approx(5 * step)
    # at the new length the noise starts now, not earlier and not later
    assert schedule.at(step - 1)[1] == 0.0
    assert schedule.at(step + 1)[1] > 0.0


def test_a_fit_that_still_improves_goes_on():
    step, schedule = watch([-2e4 + 5.0 * i for i in range(3900)])
    assert step is None
    assert schedule.n_steps == 20_000


def test_the_newest_label_counts_by_itself():
    flat = [-100.0] * 3900
    assert watch(flat)[0] == 100
    assert watch(flat, newest=[-1e4 + 2.5 * i for i in range(3900)])[0] is None


def test_bounds_of_the_length():
    flat = [-100.0] * 3900
    assert watch(flat, min_steps=1500)[1].n_steps == 1500
    assert watch(flat, n_steps=600)[0] == 100
    assert watch(flat, n_steps=600)[1].n_steps == 500
    # without noise the second half cools down
    assert watch(flat, burn_in=1.0)[1].n_steps == 200


def test_a_chain_stops_early_and_fits_as_well():
    target = pair_target(4)
    long, long_trace = cycle(target, n_steps=2000, step_size=1e-2)
    short, trace = cycle(target, n_steps=2000, step_size=1e-2, plateau=Plateau(300))
    assert 300 <= trace.step[-1] + 1 < 2000
    assert trace.temperature[-1] == 1.0
    assert trace.step_size[-1] < 1e-5
    first = target.log_likelihood(target.reference(), range(4)).mean()
    gain = [target.log_likelihood(p, range(4)).mean() - first for p in (long, short)]
    assert float(gain[1]) > 0.98 * float(gain[0])
    assert long_trace.step[-1] == 1999


def test_a_chain_that_must_move_far_takes_longer():
    lengths = []
    for step_size in (1e-2, 2e-3):
        _, trace = cycle(linear_target(), n_steps=8000, step_size=step_size, plateau=Plateau(200))
        lengths.append(trace.step[-1])
    assert lengths[1] >= lengths[0]


def test_posterior_with_adaptive_length():
    posterior = SGHMCPosterior(n_members=2, n_steps=1000, min_steps=200, step_size=1e-2)
    state = posterior.initial(PairPotential(), ("a",))
    options = {"seed_key": ("a",), "generation": 1}
    first, info = posterior.update(state, functools.partial(pair_target, 2), **options)
    second, _ = posterior.update(state, functools.partial(pair_target, 2), **options)
    assert all(t["step"][-1] < 999 for t in info.traces)
    assert all(
        torch.equal(a["w1"], b["w1"]) for a, b in zip(first.members, second.members, strict=True)
    )
    with pytest.raises(ValueError, match="min_steps"):
        SGHMCPosterior(min_steps=3000)


def test_bad_settings_are_refused():
    for arguments in ((0, 0.1), (10, 0.0), (10, float("nan"))):
        with pytest.raises(ValueError):
            Plateau(*arguments)
