"""What is proven: the ledger of all labels, closing blocks of audits, intervals and verdicts.

Pure arithmetic: it knows no atoms, no files and no jobs.

Examples
--------
A run closes with a block of audits whose number is fixed before it begins:

>>> import numpy as np
>>> from onfly.proof import Ledger, LedgerEntry, ProofRule, draw_block, judge
>>> rule = ProofRule(coverage=0.9, confidence=0.95)
>>> first, reserve = draw_block(np.random.default_rng(0), 2000, rule.looks(0))
>>> ledger = Ledger()
>>> for index, step in enumerate(first):
...     ledger = ledger.append(LedgerEntry(index=index, trajectory=0, step=step, reason="closing",
...                                        generation=0, attempt=0, errors={"energy": 0.5}))
>>> verdict = judge(ledger, rule, tolerances=["energy"])
>>> verdict.state, verdict.n_audits, round(verdict.coverage, 3)
('ready', 33, 0.907)
"""

from onfly.proof.block import Block, closing_block
from onfly.proof.decision import DecisionRule, judge_decisions
from onfly.proof.draws import draw_block, draw_steps
from onfly.proof.intervals import coverage_proven, plan_audits
from onfly.proof.ledger import Ledger
from onfly.proof.looks import Look, expected_audits, lower_bound, pass_probability, plan_looks
from onfly.proof.records import Learned, LedgerEntry, Reason, Record, from_line, to_line
from onfly.proof.rule import ProofCost, ProofRule
from onfly.proof.verdict import Verdict, VerdictState, judge

__all__ = [
    "Block",
    "DecisionRule",
    "Learned",
    "Ledger",
    "LedgerEntry",
    "Look",
    "ProofCost",
    "ProofRule",
    "Reason",
    "Record",
    "Verdict",
    "VerdictState",
    "closing_block",
    "coverage_proven",
    "draw_block",
    "draw_steps",
    "expected_audits",
    "from_line",
    "judge",
    "judge_decisions",
    "lower_bound",
    "pass_probability",
    "plan_audits",
    "plan_looks",
    "to_line",
]
