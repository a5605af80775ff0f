from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma, norm

from onfly.bayes import Calibration
from onfly.schemas import CalibrationDoc


def exceedance_by_integral(calibration: Calibration, std: float, threshold: float) -> float:
    """P(|e| > K) as an integral over the Gamma posterior of λ."""
    a = calibration.shape + calibration.n / 2
    b = calibration.rate + calibration.sum_z2 / 2
    mean, width = a / b, math.sqrt(a) / b
    points = [max(mean + k * width, mean * 1e-6) for k in (-8, -4, -2, 0, 2, 4, 8, 16, 40)]

    def integrand(lam: float) -> float:
        tail = 2.0 * norm.sf(threshold * math.sqrt(lam) / std)
        return gamma.pdf(lam, a, scale=1 / b) * tail

    points = sorted({0.0, *points})
    return sum(
        quad(integrand, lo, hi, epsabs=1e-14, epsrel=1e-13, limit=400)[0]
        for lo, hi in itertools.pairwise(points)
    )


@pytest.mark.parametrize("n", [0, 1, 7, 100])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("prior", [(1.5, 10.0), (3.0, 10.0)])
def test_student_t_is_the_integral_over_the_gamma_posterior(n, ratio, prior):
    calibration = Calibration(*prior, n=n, sum_z2=1.7 * n)
    expected = exceedance_by_integral(calibration, ratio, 1.0)
    assert calibration.exceedance(ratio, 1.0) == pytest.approx(expected, abs=1e-10)


def test_update_accumulates_standardised_errors():
    calibration = Calibration().update(2.0, 0.5).update(-0.3, 0.1)
    assert calibration.n == 2
    assert calibration.sum_z2 == pytest.approx(16 + 9)
    assert calibration.dof == 5
    assert calibration.scale_factor == pytest.approx(math.sqrt((10 + 12.5) / (1.5 + 1)))


def test_first_step_passes_only_far_below_the_threshold():
    # paper's settings for MACE: at n = 0 a step passes only if σ < K/8.2
    calibration = Calibration(1.5, 10.0)
    assert calibration.exceedance(1 / 8.0, 1.0) > 0.05
    assert calibration.exceedance(1 / 8.4, 1.0) < 0.05


@pytest.mark.parametrize("std", [0.0, 1e-300, 1e-12, 1e-3, 1.0, 1e300])
def test_finite_for_many_labels_and_any_std(std):
    calibration = Calibration(n=100_000, sum_z2=101_234.5)
    probability = calibration.exceedance(std, 0.1)
    assert math.isfinite(probability)
    assert 0.0 <= probability <= 1.0


def test_zero_std_exceeds_nothing_and_a_broken_std_exceeds_surely():
    calibration = Calibration()
    assert calibration.exceedance(0.0, 1.0) == 0.0
    assert calibration.exceedance(math.nan, 1.0) == 1.0
    assert calibration.exceedance(math.inf, 1.0) == 1.0


def test_interval_has_its_probability():
    calibration = Calibration(n=5, sum_z2=9.0)
    half = calibration.interval(0.3, 0.9)
    assert calibration.exceedance(0.3, half) == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("field", ["shape", "rate", "n", "sum_z2"])
def test_bad_fields_are_refused(field):
    for value in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match=field):
            Calibration(**{field: value})


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="error"):
        Calibration().update(math.nan, 1.0)
    for std in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="standard deviation"):
            Calibration().update(1.0, std)
    for threshold in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="threshold"):
            Calibration().exceedance(1.0, threshold)
    with pytest.raises(ValueError, match="negative"):
        Calibration().exceedance(-1.0, 1.0)
    with pytest.raises(ValueError, match="mode"):
        Calibration(mode="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decay"):
        Calibration(mode="ema", decay=1.5)
    with pytest.raises(ValueError, match="probability"):
        Calibration().interval(1.0, 1.0)


def test_ema_forgets():
    old = Calibration(mode="ema", decay=0.5, n=4, sum_z2=8)
    new = old.update(3.0, 1.0)
    assert (new.n, new.sum_z2) == (3.0, 13.0)
    forever = Calibration(mode="ema", decay=0.9)
    for _ in range(500):
        forever = forever.update(1.0, 1.0)
    assert forever.n == pytest.approx(10.0, rel=1e-6)


def _after_audits(calibration: Calibration, rng: np.random.Generator, n: int) -> Calibration:
    """Audits of a prediction whose std of 1 is 5 times too small."""
    for error in rng.normal(0.0, 5.0, n):
        calibration = calibration.update(error, 1.0)
    return calibration


def _audit_study(start: Calibration, threshold: float, n_runs: int = 1500) -> tuple[float, float]:
    """Fractions of runs in which 10 audits let a bad step ask, and a 95 % interval hold."""
    rng = np.random.default_rng(7)
    caught = covered = 0
    for _ in range(n_runs):
        audited = _after_audits(start, rng, 10)
        caught += audited.exceedance(1.0, threshold) > 0.05
        covered += abs(rng.normal(0.0, 5.0)) < audited.interval(1.0, 0.95)
    return caught / n_runs, covered / n_runs


@pytest.mark.parametrize("n", [5, 10, 30, 100, 1000])
def test_overconfidence_is_caught_and_corrected_within_10_audits(n):
    """The std is 5 times too small: with K = 1 true std, 32 % of the errors exceed K."""
    start = Calibration(n=n, sum_z2=float(n), surprise=0.02)
    assert start.exceedance(1.0, 5.0) < 0.05  # such a step passes before the audits
    caught, covered = _audit_study(start, 5.0)
    assert caught > 0.97
    assert covered > 0.91


def test_a_fresh_calibration_needs_no_discount():
    caught, covered = _audit_study(Calibration(), 5.0)
    assert caught > 0.98
    assert covered > 0.91


def test_without_discount_a_long_history_hides_overconfidence():
    caught, _ = _audit_study(Calibration(n=100, sum_z2=100.0), 5.0, 200)
    assert caught < 0.1


def test_discount_costs_little_when_errors_are_as_predicted():
    rng = np.random.default_rng(3)
    factors = []
    for _ in range(60):
        calibration = Calibration(surprise=0.02)
        for error in rng.normal(0.0, 0.7, 200):
            calibration = calibration.update(error, 0.7)
        factors.append(calibration.scale_factor)
    assert 1.0 < np.mean(factors) < 1.2


def test_fields_are_those_of_the_document():
    calibration = Calibration(n=2, sum_z2=3.0, mode="ema", decay=0.9, surprise=0.02)
    document = CalibrationDoc(**asdict(calibration))
    assert Calibration(**document.model_dump()) == calibration
