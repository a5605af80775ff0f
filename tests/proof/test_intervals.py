"""How many audits prove a coverage, against the binomial distribution and tables."""

from __future__ import annotations

import math

import pytest
from scipy.stats import beta, binom

from onfly.proof import coverage_proven, plan_audits


@pytest.mark.parametrize(
    ("coverage", "confidence", "n"),
    [(0.9, 0.95, 29), (0.95, 0.95, 59), (0.99, 0.95, 299), (0.8, 0.95, 14), (0.9, 0.99, 44)],
)
def test_without_failures_the_number_is_a_ratio_of_logarithms(coverage, confidence, n):
    assert plan_audits(coverage, confidence) == n
    assert n == math.ceil(math.log(1 - confidence) / math.log(coverage))


@pytest.mark.parametrize("failures", range(6))
@pytest.mark.parametrize(("coverage", "confidence"), [(0.9, 0.95), (0.97, 0.9), (0.5, 0.99)])
def test_it_is_the_smallest_number(failures, coverage, confidence):
    n = plan_audits(coverage, confidence, failures)
    assert binom.cdf(failures, n, 1 - coverage) <= 1 - confidence
    assert binom.cdf(failures, n - 1, 1 - coverage) > 1 - confidence


def test_a_low_coverage_needs_one_audit_only():
    assert plan_audits(0.04, 0.95) == 1


@pytest.mark.parametrize(
    "arguments", [(1.0, 0.95), (0.0, 0.95), (0.9, 1.0), (0.9, 0.0), (0.9, 0.95, -1)]
)
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        plan_audits(*arguments)


@pytest.mark.parametrize(("n", "failed"), [(29, 0), (46, 1), (20, 5), (10, 10)])
def test_the_bound_is_the_quantile_of_a_beta_distribution(n, failed):
    expected = beta.ppf(0.05, n - failed, failed + 1) if failed < n else 0.0
    assert coverage_proven(n, failed, 0.95) == pytest.approx(expected, abs=1e-9)


def test_plan_and_bound_agree():
    for failures in range(4):
        n = plan_audits(0.9, 0.95, failures)
        assert coverage_proven(n, failures, 0.95) >= 0.9
        assert coverage_proven(n - 1, failures, 0.95) < 0.9


def test_without_audits_nothing_is_proven():
    assert coverage_proven(0, 0, 0.95) == 0


@pytest.mark.parametrize(("n", "failed"), [(3, 4), (3, -1)])
def test_impossible_counts_are_refused(n, failed):
    with pytest.raises(ValueError, match="impossible"):
        coverage_proven(n, failed, 0.95)
