from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onfly.analysis.metrics import (
    auc_roc,
    binomial_interval,
    mean_log_likelihood,
    mll_by_error_interval,
    reliability_curve,
    rmse,
    z_scores,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_rmse_of_a_known_sample():
    assert rmse([3.0, -4.0]) == pytest.approx(np.sqrt(12.5))


def test_mll_closed_form(rng):
    e, s = rng.normal(size=50), rng.uniform(0.5, 2, 50)
    expected = np.mean(-0.5 * np.log(2 * np.pi) - np.log(s) - 0.5 * (e / s) ** 2)
    assert mean_log_likelihood(e, s) == pytest.approx(expected, rel=1e-12)


def test_mll_of_a_student_t_in_closed_form():
    # Cauchy: log density at x is -log(pi s (1 + (x/s)^2))
    e, s = np.array([0.3, -2.0]), np.array([0.5, 1.5])
    expected = np.mean(-np.log(np.pi * s * (1 + (e / s) ** 2)))
    (everything,) = mll_by_error_interval(e, s, (0.0, np.inf), 1)
    assert everything.mean == pytest.approx(expected, rel=1e-12)


def test_mll_is_highest_at_the_true_std(rng):
    e = rng.normal(scale=2.0, size=20_000)
    values = {s: mean_log_likelihood(e, s) for s in (1.0, 1.8, 2.0, 2.2, 4.0)}
    assert max(values, key=values.get) == 2.0


@pytest.mark.parametrize("ties", [False, True])
def test_auc_agrees_with_scikit_learn(rng, ties):
    metrics = pytest.importorskip("sklearn.metrics")
    s = rng.uniform(0.1, 2, 400)
    if ties:
        s = np.round(s, 1) + 0.1
    e = rng.normal(scale=s)
    expected = metrics.roc_auc_score(np.abs(e) > 0.8, s)
    assert auc_roc(e, s, 0.8) == pytest.approx(expected, rel=1e-12)
    assert expected > 0.6


def test_auc_limits():
    e = np.array([0.1, 0.2, 1.0, 2.0])
    assert auc_roc(e, e, 0.5) == 1.0
    assert auc_roc(e, 3 - e, 0.5) == 0.0
    assert auc_roc(e, np.ones(4), 0.5) == 0.5
    assert np.isnan(auc_roc(e, e, 5.0))


def test_z_scores_of_a_calibrated_prediction_are_standard_normal(rng):
    s = rng.uniform(0.1, 2, 5000)
    z = z_scores(rng.normal(scale=s), s)
    assert stats.kstest(z, "norm").pvalue > 0.01


def test_reliability_of_calibrated_and_overconfident_predictions(rng):
    s = rng.uniform(0.1, 2, 4000)
    e = rng.normal(scale=s)
    good = reliability_curve(e, s)
    assert good.miscalibration_area < 0.02
    assert ((good.low <= good.nominal) & (good.nominal <= good.high)).mean() > 0.8
    bad = reliability_curve(e, s / 3)
    assert bad.miscalibration_area > 0.2
    assert (bad.observed[1:-1] < bad.nominal[1:-1]).all()


def test_reliability_of_student_t(rng):
    s = rng.uniform(0.1, 2, 4000)
    e = s * rng.standard_t(3, size=4000)
    assert reliability_curve(e, s, degrees_of_freedom=3).miscalibration_area < 0.02
    assert reliability_curve(e, s).miscalibration_area > 0.03


def test_reliability_with_the_predictions_own_degrees_of_freedom(rng):
    df = rng.uniform(2, 40, 4000)
    e = rng.standard_t(df)
    assert reliability_curve(e, np.ones(4000), df).miscalibration_area < 0.02


def test_mll_by_interval_averages_to_the_whole(rng):
    e, s = rng.normal(size=300), rng.uniform(0.5, 2, 300)
    parts = mll_by_error_interval(e, s, [0, 0.5, 1, np.inf])
    assert sum(p.n for p in parts) == 300
    total = sum(p.n * p.mean for p in parts) / 300
    assert total == pytest.approx(mean_log_likelihood(e, s))
    assert parts[0].mean > parts[-1].mean


def test_mll_by_interval_with_an_empty_one():
    parts = mll_by_error_interval([0.1, 0.2], [1, 1], [0, 0.15, 0.3, 5])
    assert [p.n for p in parts] == [1, 1, 0]
    assert np.isnan(parts[2].mean)
    assert np.isnan(parts[0].standard_error)
    assert parts[1].mean == pytest.approx(stats.norm.logpdf(0.2))


def test_binomial_interval_known_values():
    # rule of three, exactly: high of 0/n is 1 - 0.025^(1/n)
    assert binomial_interval(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert binomial_interval(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    expected = stats.binomtest(13, 17).proportion_ci(0.9, method="exact")
    assert binomial_interval(13, 17, 0.9) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
    assert binomial_interval(0, 0) == (0.0, 1.0)


def test_binomial_interval_covers(rng):
    k = rng.binomial(15, 0.9, size=2000)
    bounds = [binomial_interval(int(i), 15) for i in k]
    assert np.mean([low <= 0.9 <= high for low, high in bounds]) >= 0.95 - 0.015


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: rmse([]), "no errors"),
        (lambda: rmse([np.nan]), "NaN"),
        (lambda: mean_log_likelihood([1.0], [0.0]), "positive"),
        (lambda: mean_log_likelihood([1.0, 2.0], [1.0, 1.0, 1.0]), "one for each"),
        (lambda: binomial_interval(3, 2), "impossible"),
        (lambda: binomial_interval(1, 2, 1.0), "confidence"),
        (lambda: mll_by_error_interval([1.0], [1.0], [1, 0]), "increasing"),
        (lambda: reliability_curve([1.0], [1.0], levels=[2.0]), "probabilities"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
