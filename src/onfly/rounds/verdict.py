"""What is proven of a run: the one answer that status, report and the published model give."""

from __future__ import annotations

import json

from onfly.artifacts.workspace import RunWorkspace
from onfly.proof import Ledger, ProofRule, Verdict, judge, judge_decisions
from onfly.rounds.close import proof_rule
from onfly.rounds.decisions import decision_rule, searching
from onfly.schemas import RunState

__all__ = ["judge_run", "verdict_of"]


def judge_run(state: RunState, ledger: Ledger) -> Verdict:
    """Return what the ledger of a run proves, as the run stands."""
    posterior = state.posterior
    stopped = (posterior.stop_reason or "unknown") if posterior.stopped else None
    if searching(state):
        return judge_decisions(ledger, decision_rule(state), stopped=stopped)
    proof = posterior.spec.proof
    # without attempts nothing was to be proven; the rule then only words that
    rule = proof_rule(state) or ProofRule(coverage=proof.coverage, confidence=proof.confidence)
    return judge(
        ledger,
        rule,
        stopped=stopped,
        tolerances=[tolerance.name for tolerance in posterior.spec.tolerance],
    )


def verdict_of(workspace: RunWorkspace, state: RunState) -> Verdict | None:
    """Return the verdict on a run that has ended, as it was published; None while it goes on."""
    if state.phase not in ("done", "stopped"):
        return None
    try:
        found = json.loads((workspace.folder / "model.json").read_text())
        if found.get("model_id") == state.posterior.model_id and found.get("verdict"):
            return Verdict.model_validate(found["verdict"])
    except (OSError, ValueError, AttributeError, RecursionError):
        pass  # the ledger says it as well
    return judge_run(state, workspace.read_ledger(state.posterior.n_records))
