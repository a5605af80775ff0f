"""The prior over λ that many runs teach."""

from __future__ import annotations

import numpy as np
import pytest

from onfly.bayes import Calibration
from onfly.bayes.calibration_prior import LARGEST_SHAPE, fit_gamma_prior


def runs(shape, rate, n_runs, n_errors, seed):
    """Return counts and sums of runs whose λ was drawn from a Gamma distribution."""
    rng = np.random.default_rng(seed)
    precision = rng.gamma(shape, 1 / rate, n_runs)
    errors = rng.normal(size=(n_runs, n_errors)) / np.sqrt(precision)[:, None]
    return [n_errors] * n_runs, (errors**2).sum(axis=1)


@pytest.mark.parametrize(("shape", "rate"), [(2.0, 3.0), (4.0, 4.0), (3.0, 30.0)])
def test_many_runs_give_the_prior_they_were_drawn_from(shape, rate):
    found = fit_gamma_prior(*runs(shape, rate, 400, 20, 1))
    assert found.shape == pytest.approx(shape, rel=0.25)
    assert found.rate / found.shape == pytest.approx(rate / shape, rel=0.12)
    assert found.n_runs == 400


def test_few_runs_stay_near_what_is_known():
    found = fit_gamma_prior(*runs(4.0, 4.0, 5, 10, 2))
    assert 1.5 < found.shape < 6.0


def test_runs_that_are_alike_do_not_make_the_run_itself_deaf():
    found = fit_gamma_prior([50] * 100, [50.0] * 100)
    assert found.shape == pytest.approx(LARGEST_SHAPE)
    assert found.rate == pytest.approx(LARGEST_SHAPE, rel=0.05)


def test_the_learned_prior_is_sharper_and_keeps_its_promise():
    """The first predictions of new runs: P(error > K) at 5 % must mean at most 5 %, as before."""
    learned = fit_gamma_prior(*runs(3.0, 4.0, 30, 15, 3))
    prior = Calibration(shape=learned.shape, rate=learned.rate)
    vague = Calibration()
    low, high = 1.0, 50.0
    for _ in range(60):  # the K at which the criterion is just silent
        middle = (low + high) / 2
        low, high = (middle, high) if prior.exceedance(1.0, middle) > 0.05 else (low, middle)
    assert vague.exceedance(1.0, high) > 0.1
    rng = np.random.default_rng(4)
    errors = rng.normal(size=20000) / np.sqrt(rng.gamma(3.0, 1 / 4.0, 20000))
    assert np.mean(np.abs(errors) > high) < 0.065


@pytest.mark.parametrize(
    ("counts", "sums", "words"),
    [
        ([5] * 4, [5.0] * 4, "too few"),
        ([5, 5, 5, 5, 0], [5.0] * 5, "too few"),
        ([5] * 5, [5.0] * 4, "do not belong together"),
        ([5] * 5, [5.0] * 4 + [np.nan], "finite"),
        ([-1] * 5, [5.0] * 5, "finite and not negative"),
    ],
)
def test_what_says_nothing_is_refused(counts, sums, words):
    with pytest.raises(ValueError, match=words):
        fit_gamma_prior(counts, sums)
