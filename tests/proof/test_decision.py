"""What the labels at the end of a relaxation or a path prove."""

from __future__ import annotations

import pytest

from onfly.proof import DecisionRule, Ledger, LedgerEntry, judge_decisions
from onfly.proof.decision import n_decisions, refuting

RELAX = DecisionRule(path=False, n_trajectories=1, fmax=0.02, decisions=3)
PATH = DecisionRule(path=True, n_trajectories=5, fmax=0.05, decisions=3)


def ledger(*entries):
    found = Ledger()
    for trajectory, reason, generation, energy, fmax in entries:
        errors = {"energy": energy} | ({} if fmax is None else {"fmax": fmax})
        found = found.append(
            LedgerEntry(
                index=found.n_labels,
                trajectory=trajectory,
                step=7,
                reason=reason,
                generation=generation,
                label="x",
                errors=errors,
                error=0.01 * energy,
            )
        )
    return found


def test_the_last_label_decides():
    first = (0, "deciding", 1, 0.5, 3.0)
    good = (0, "deciding", 2, 0.5, 0.9)
    verdict = judge_decisions(ledger(first), RELAX)
    assert verdict.state == "needs more audits"
    assert verdict.attempts_left == 2
    verdict = judge_decisions(ledger(first, good), RELAX)
    assert (verdict.state, verdict.generation, verdict.n_failed) == ("ready", 2, 0)
    assert "0.018 eV/Å, asked for were 0.02 eV/Å" in verdict.sentence
    assert "5 meV" in verdict.sentence
    assert "nothing is proven of others" in verdict.sentence
    assert verdict.coverage is None


@pytest.mark.parametrize("bad", [(2.0, 0.5), (0.5, 2.0)])
def test_energy_and_force_must_both_agree(bad):
    assert judge_decisions(ledger((0, "deciding", 1, *bad)), RELAX).state != "ready"


def test_rounds_that_are_used_up():
    found = ledger(*[(0, "deciding", g, 2.0, 0.5) for g in (1, 2, 3)])
    verdict = judge_decisions(found, RELAX)
    assert verdict.state == "not accurate enough"
    assert "energy not kept" in verdict.sentence
    assert judge_decisions(found, RELAX, stopped="by hand").state == "stopped"
    assert n_decisions(found) == 3


def test_nothing_is_said_without_a_label():
    verdict = judge_decisions(Ledger(), RELAX)
    assert verdict.state == "needs more audits"
    assert "0 of 1" in verdict.sentence
    assert "Nothing is proven" in judge_decisions(Ledger(), RELAX, stopped="x").sentence


def test_a_path_needs_both_ends_and_the_saddle():
    ends = [(0, "deciding", 1, 0.1, 0.5), (4, "deciding", 1, 0.1, 0.5)]
    assert judge_decisions(ledger(*ends), PATH).state == "needs more audits"
    whole = ledger(*ends, (2, "deciding", 1, 0.1, 0.5))
    assert judge_decisions(whole, PATH).state == "ready"
    # the highest image may be another one later: its label is the one that counts
    later = whole.append(
        whole.entries[-1].model_copy(
            update={"index": 3, "trajectory": 1, "generation": 2, "errors": {"energy": 1.5}}
        )
    )
    assert judge_decisions(later, PATH).state == "needs more audits"


def test_an_image_that_was_wrong_refutes_the_path_of_its_round():
    ends = [(0, "deciding", 1, 0.1, 0.5), (4, "deciding", 1, 0.1, 0.5)]
    image, saddle = (1, "uncertain", 2, 1.2, None), (2, "deciding", 2, 0.1, 0.5)
    found = ledger(*ends, image, saddle)
    assert [e.trajectory for e in refuting(found, PATH)] == [1]
    assert judge_decisions(found, PATH).state == "needs more audits"
    old = ledger(*ends, (1, "uncertain", 1, 1.2, None), saddle)
    assert judge_decisions(old, PATH).state == "ready"
