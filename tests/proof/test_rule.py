"""How the error probability is divided, and what a proof costs."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError
from scipy.stats import binom

from onfly.proof import Look, ProofRule, plan_audits


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("spend", [0.5, 0.8, 0.95])
def test_all_blocks_together_spend_less_than_may_go_wrong(confidence, spend):
    rule = ProofRule(confidence=confidence, spend=spend)
    spent = [rule.alpha(attempt) for attempt in range(40)]
    assert sum(spent) <= (1 - confidence) * (1 + 1e-12)
    assert spent[0] == pytest.approx((1 - confidence) * spend)
    assert all(a > b for a, b in itertools.pairwise(spent))


def test_a_union_bound_holds_for_a_model_just_below_the_coverage():
    rule = ProofRule(attempts=5)
    never = 1.0
    for attempt in range(rule.attempts):
        never *= 1 - rule.power(rule.coverage, attempt)
    assert 0.04 < 1 - never <= 0.05  # and little of it is wasted


def test_more_attempts_do_not_change_the_blocks_before():
    few, many = ProofRule(attempts=2), ProofRule(attempts=8)
    assert [few.looks(a) for a in range(2)] == [many.looks(a) for a in range(2)]


def test_one_attempt_without_failures_is_the_fixed_plan():
    rule = ProofRule(coverage=0.95, confidence=0.9, failures=0, attempts=1, spend=1)
    assert rule.looks(0) == (Look(plan_audits(0.95, 0.9), 0),)


def test_the_cost_is_the_sum_of_the_looks():
    rule = ProofRule(attempts=2)
    sizes = [[look.n for look in rule.looks(a)] for a in range(2)]
    cost = rule.cost()
    assert cost.least_audits == sizes[0][0]
    assert cost.most_audits == sizes[0][-1] + sizes[1][-1] == rule.total_at_most()
    assert (cost.least_waits, cost.most_waits) == (1, 4)
    assert ProofRule(failures=0, attempts=4).cost().most_waits == 4


def test_a_model_of_99_percent_is_ready_in_the_first_block():
    rule = ProofRule(coverage=0.9, confidence=0.95)
    first, last = rule.looks(0)
    assert binom.pmf(0, first.n, 0.01) >= 0.7  # the first look alone
    assert rule.power(0.99) >= 0.9
    assert rule.power(0.99) > ProofRule(failures=0).power(0.99)
    assert first.n < rule.expected_audits(0.99) < last.n


def test_nothing_left_for_a_second_block_is_refused():
    with pytest.raises(ValidationError, match="attempts: 1"):
        ProofRule(spend=1)
    with pytest.raises(ValueError, match="nothing is left"):
        ProofRule(spend=1, attempts=1).alpha(1)
    with pytest.raises(ValueError, match="counted from 0"):
        ProofRule().alpha(-1)


@pytest.mark.parametrize(
    "field", ["coverage", "confidence", "first_look", "spend", "attempts", "failures"]
)
def test_limits(field):
    with pytest.raises(ValidationError):
        ProofRule(**{field: -1})
    with pytest.raises(ValidationError):
        ProofRule(**{field: 7.5})


def test_a_round_trip_through_json():
    rule = ProofRule(coverage=0.97, attempts=2)
    assert ProofRule.model_validate_json(rule.model_dump_json()) == rule
