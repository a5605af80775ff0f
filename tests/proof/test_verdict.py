"""Every state of a closing block and every verdict, from ledgers that are written by hand."""

from __future__ import annotations

import itertools

import pytest

from onfly.proof import (
    Ledger,
    LedgerEntry,
    ProofRule,
    Verdict,
    closing_block,
    coverage_proven,
    judge,
    lower_bound,
)

RULE = ProofRule(coverage=0.9, confidence=0.95)
FIRST, LAST = (look.n for look in RULE.looks(0))


def close(ledger, outcomes, attempt=0, look=0, generation=0, errors=None):
    """Append closing audits; True is within the tolerance."""
    for good in outcomes:
        index = ledger.n_labels
        found = {"energy": 0.5 if good else 1.5} if errors is None else errors
        ledger = ledger.append(
            LedgerEntry(
                index=index,
                trajectory=0,
                step=index,
                reason="closing",
                generation=generation,
                attempt=attempt,
                look=look,
                errors=found,
            )
        )
    return ledger


def outcomes(n, n_failed=0):
    return [False] * n_failed + [True] * (n - n_failed)


def failed_run():
    return close(Ledger(), outcomes(FIRST, 2))


def test_nothing_audited():
    verdict = judge(Ledger(), RULE)
    assert verdict.state == "needs more audits"
    assert (verdict.n_audits, verdict.attempt, verdict.generation) == (0, None, None)
    assert verdict.attempts_left == 3
    assert f"begins with {FIRST} audits" in verdict.sentence
    assert closing_block(Ledger(), RULE) is None


def test_good_audits_of_the_run_prove_nothing():
    ledger = Ledger()
    for index in range(100):
        ledger = ledger.append(
            LedgerEntry(
                index=index,
                trajectory=0,
                step=index,
                reason="audit",
                generation=0,
                errors={"energy": 0.0},
            )
        )
    assert judge(ledger, RULE).state == "needs more audits"


def test_ready_at_the_first_look():
    ledger = close(Ledger(), outcomes(FIRST - 1))
    assert judge(ledger, RULE).state == "needs more audits"
    assert closing_block(ledger, RULE).due == 1
    ledger = close(ledger, [True])
    verdict = judge(ledger, RULE, tolerances=["energy"])
    assert verdict.state == "ready"
    assert (verdict.n_audits, verdict.n_failed, verdict.attempt) == (FIRST, 0, 0)
    assert verdict.coverage == pytest.approx(coverage_proven(FIRST, 0, 1 - RULE.alpha(0)))
    assert verdict.confidence == 0.95
    assert f"{FIRST} of {FIRST} audits" in verdict.sentence
    assert "at least 90 %" in verdict.sentence
    assert "95 %" in verdict.sentence


def test_one_failure_needs_the_reserve():
    ledger = close(Ledger(), outcomes(FIRST, 1))
    block = closing_block(ledger, RULE)
    assert (block.state, block.look, block.due) == ("open", 1, LAST - FIRST)
    assert judge(ledger, RULE).state == "needs more audits"
    assert judge(ledger, RULE).coverage is None
    ledger = close(ledger, outcomes(LAST - FIRST), look=1)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.n_audits, verdict.n_failed) == ("ready", LAST, 1)
    assert verdict.coverage == pytest.approx(lower_bound(RULE.looks(0), 1, RULE.alpha(0)))
    assert verdict.coverage >= 0.9


def test_a_failure_in_the_reserve_loses_the_block():
    ledger = close(Ledger(), outcomes(FIRST, 1))
    ledger = close(ledger, [True, False], look=1)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.n_failed) == ("not accurate enough", 2)
    assert verdict.coverage == pytest.approx(coverage_proven(FIRST, 1, 1 - RULE.alpha(0)))
    assert 0 < verdict.coverage < 0.9


def test_two_failures_end_the_block_at_once():
    ledger = close(Ledger(), [True, False, False])
    block = closing_block(ledger, RULE)
    assert (block.state, block.due, block.n_audits) == ("failed", 0, 3)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.coverage) == ("not accurate enough", None)
    assert "2 more closing blocks" in verdict.sentence


def test_new_weights_are_not_blamed_for_the_old():
    ledger = failed_run().learned(1, FIRST)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.attempts_left) == ("needs more audits", 2)
    assert verdict.coverage is None
    assert f"begins with {RULE.looks(1)[0].n} audits" in verdict.sentence
    ledger = close(ledger, outcomes(RULE.looks(1)[0].n), attempt=1, generation=1)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.attempt, verdict.generation) == ("ready", 1, 1)
    assert verdict.coverage >= 0.9


def test_the_second_block_costs_more_than_the_first():
    ledger = close(failed_run().learned(1, FIRST), outcomes(FIRST), attempt=1, generation=1)
    assert judge(ledger, RULE).state == "needs more audits"


def test_after_the_last_attempt_learning_changes_nothing():
    rule = ProofRule(attempts=1)
    ledger = failed_run().learned(1, FIRST)
    verdict = judge(ledger, rule)
    assert (verdict.state, verdict.attempts_left) == ("not accurate enough", 0)
    assert "No further closing block" in verdict.sentence
    assert judge(ledger, RULE).state == "needs more audits"


def test_stopped():
    for ledger in (Ledger(), failed_run(), close(Ledger(), [True])):
        verdict = judge(ledger, RULE, stopped="the limit of 40 labels is reached.")
        assert (verdict.state, verdict.coverage) == ("stopped", None)
        assert "40 labels" in verdict.sentence
    proven = close(Ledger(), outcomes(FIRST))
    assert judge(proven, RULE, stopped="stopped by the user.").state == "ready"


def test_a_proof_belongs_to_the_weights_that_were_tested():
    ledger = close(Ledger(), outcomes(FIRST)).learned(1, FIRST)
    verdict = judge(ledger, RULE)
    assert (verdict.state, verdict.generation) == ("ready", 0)
    assert "not for those that were learned later (generation 1)" in verdict.sentence


def test_a_label_that_could_not_be_computed_fails():
    ledger = close(Ledger(), outcomes(FIRST - 1))
    assert judge(close(ledger, [True], errors={}), RULE).n_failed == 1


def test_every_tolerance_must_have_been_judged():
    ledger = close(Ledger(), outcomes(FIRST))
    with pytest.raises(ValueError, match="'force'"):
        judge(ledger, RULE, tolerances=["energy", "force"])
    both = close(Ledger(), [True], errors={"energy": 0.2, "force": 1.2})
    assert judge(both, RULE, tolerances=["energy", "force"]).n_failed == 1
    assert "all tolerances (energy, force)" in judge(both, RULE).sentence


def test_audits_that_were_not_planned_are_refused():
    with pytest.raises(ValueError, match="was the proof rule changed"):
        judge(close(Ledger(), outcomes(FIRST + 1)), RULE)
    with pytest.raises(ValueError, match="was the proof rule changed"):
        judge(close(Ledger(), [True], look=1), ProofRule(failures=0))


def test_the_order_in_which_labels_arrive_does_not_matter():
    small = ProofRule(coverage=0.5, confidence=0.8, failures=1)
    n = small.looks(0)[0].n
    for n_failed in range(3):
        states = set()
        for order in set(itertools.permutations(outcomes(n, n_failed))):
            states.add(judge(close(Ledger(), order), small).state)
        assert len(states) == 1


def test_a_verdict_survives_json():
    verdict = judge(failed_run(), RULE)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
