"""The arithmetic of a block's looks, against sums written out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from onfly.proof import (
    Look,
    ProofRule,
    coverage_proven,
    expected_audits,
    lower_bound,
    pass_probability,
    plan_audits,
    plan_looks,
)

LOOKS = (Look(33, 0), Look(57, 1))


def by_hand(q, n=33, reserve=24):
    one_failure = n * (1 - q) * q ** (n - 1)
    return q**n + one_failure * q**reserve


@pytest.mark.parametrize("q", [0.5, 0.9, 0.97, 0.99, 1.0])
def test_the_chance_of_two_looks_is_the_sum_of_both_ways_to_pass(q):
    assert pass_probability(LOOKS, q) == pytest.approx(by_hand(q))
    assert pass_probability(LOOKS, q, up_to=0) == pytest.approx(q**33)


def test_three_looks_by_enumeration():
    looks = (Look(3, 0), Look(5, 1), Look(6, 2))
    q, total = 0.7, 0.0
    for bits in range(2**6):
        failed = [bits >> i & 1 for i in range(6)]
        if any(sum(failed[: look.n]) <= look.failures for look in looks):
            total += (1 - q) ** sum(failed) * q ** (6 - sum(failed))
    assert pass_probability(looks, q) == pytest.approx(total)


@pytest.mark.parametrize("failures", range(4))
@pytest.mark.parametrize(("coverage", "alpha"), [(0.9, 0.04), (0.9, 0.0016), (0.98, 0.05)])
def test_planned_looks_spend_what_they_may_and_no_audit_more(coverage, alpha, failures):
    looks = plan_looks(coverage, alpha, failures, 0.8)
    assert [look.failures for look in looks] == list(range(failures + 1))
    assert pass_probability(looks, coverage) <= alpha
    shorter = (*looks[:-1], Look(looks[-1].n - 1, failures))
    if failures == 0 or shorter[-1].n > looks[-2].n:
        assert pass_probability(shorter, coverage) > alpha
    assert all(a.n < b.n for a, b in itertools.pairwise(looks))


def test_one_look_is_the_fixed_plan():
    assert plan_looks(0.9, 0.05, 0, 0.8) == (Look(plan_audits(0.9, 0.95), 0),)


def test_a_better_model_passes_more_often():
    chances = [pass_probability(LOOKS, q) for q in np.linspace(0, 1, 101)]
    assert all(a < b for a, b in itertools.pairwise(chances))
    assert chances[0] == 0
    assert chances[-1] == 1


def test_expected_audits_by_hand():
    audits, looks = expected_audits(LOOKS, 0.99)
    reserve = binom.pmf(1, 33, 0.01)
    assert audits == pytest.approx(33 + 24 * reserve)
    assert looks == pytest.approx(1 + reserve)


def test_the_bound_of_a_first_look_is_clopper_pearson():
    assert lower_bound(LOOKS, 0, 0.04) == pytest.approx(coverage_proven(33, 0, 0.96), abs=1e-9)


def test_a_pass_proves_at_least_the_coverage_and_a_later_one_less():
    rule = ProofRule()
    for attempt in range(3):
        looks, alpha = rule.looks(attempt), rule.alpha(attempt)
        bounds = [lower_bound(looks, k, alpha) for k in range(len(looks))]
        assert bounds[0] > bounds[1] >= rule.coverage
        assert pass_probability(looks, bounds[1]) == pytest.approx(alpha)


@pytest.mark.parametrize("n_steps", [57, 60, 100, 500, 5000])
def test_drawing_without_replacement_never_helps_a_bad_model(n_steps):
    """Exact for a finite block: the largest number of bad steps that is below 90 %."""
    bad = int(np.floor(n_steps * 0.1)) + 1
    assert (n_steps - bad) / n_steps < 0.9
    first = hypergeom(n_steps, bad, 33)
    reserve = hypergeom(n_steps - 33, bad - 1, 24) if n_steps > 57 else None
    none_in_reserve = reserve.pmf(0) if reserve else float(bad == 1)
    chance = first.pmf(0) + first.pmf(1) * none_in_reserve
    assert chance <= by_hand(0.9) <= ProofRule().alpha(0)
