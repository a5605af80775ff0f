"""How a run stands, as one flat record for people and for scripts."""

from __future__ import annotations

from typing import Any

from onfly.artifacts.workspace import RunWorkspace
from onfly.rounds.progress import read_progress
from onfly.rounds.verdict import verdict_of
from onfly.schemas import RunState

__all__ = ["activity", "md_steps", "run_record", "verdict_of"]


def run_record(workspace: RunWorkspace) -> dict[str, Any]:
    """Return how a run stands, as one flat record."""
    run = workspace.read_state()
    p = run.posterior
    now = read_progress(workspace.folder)
    verdict = verdict_of(workspace, run)
    due = run.due if run.phase == "label" else ()
    return {
        "run_id": run.run_id,
        "formula_pretty": p.formula_pretty,
        "campaign": p.campaign,
        "state": "running" if verdict is None else verdict.state,
        "verdict": "running" if verdict is None else verdict.sentence,
        "phase": run.phase,
        "activity": activity(run, now),
        "foundation_model": p.spec.foundation.source,
        "threshold_ev": p.threshold_ev,
        "walkers": p.spec.trajectories.walkers,
        "round": p.round,
        "md_step": md_steps(run, now),
        "n_steps_total": run.n_steps_total,
        "n_labels": p.n_labels,
        "n_waits": p.n_waits,
        "n_calls": p.n_calls,
        "n_audits": p.n_audits,
        "n_audits_within": p.n_audits_within,
        "coverage": p.n_audits_within / p.n_audits if p.n_audits else None,
        "coverage_proven": None if verdict is None else verdict.coverage,
        "confidence": p.spec.proof.confidence,
        "closing_block": None if p.attempt is None else p.attempt + 1,
        "waits_for": [request.key for request in due],
        "waits_since": p.updated_at.isoformat() if due else None,
        "n_failures": run.n_failures,
        "last_failure": run.failures[-1] if run.failures else None,
        "stop_reason": p.stop_reason,
        "model_id": p.model_id,
        "created_at": p.created_at.isoformat(),
        "updated_at": p.updated_at.isoformat(),
        "folder": str(workspace.folder),
    }


def md_steps(run: RunState, now: dict[str, Any]) -> int:
    """Return the MD steps of all trajectories; one may be ahead of the state that is written."""
    index = now.get("trajectory")
    ahead = 0
    if now.get("phase") == "explore" and run.phase == "explore" and index is not None:
        written = {t.index: t.md_step for t in run.trajectories}.get(index, 0)
        ahead = max(int(now.get("md_step") or 0) - written, 0)
    return run.md_step + ahead


def activity(run: RunState, now: dict[str, Any]) -> str:
    """Return what is being done, in words."""
    phase = run.phase
    if phase == "start":
        return "preparing ensemble and first configurations"
    if phase == "label":
        number = now.get("label") if now.get("phase") == "label" else None
        reasons = sorted({request.reason for request in run.due})
        what = f"{len(run.due)} label{'s' if len(run.due) != 1 else ''} ({', '.join(reasons)})"
        return f"waiting for {what}" + (f", at number {number}" if number else "")
    if phase in ("judge", "close"):
        return "judging labels"
    if phase == "learn":
        return f"learning from {run.posterior.n_labels} labels"
    if phase == "explore":
        several = len(run.trajectories) > 1
        name = f", trajectory {now['trajectory']}" if several and "trajectory" in now else ""
        if run.posterior.attempt is not None:
            return f"MD of closing block {run.posterior.attempt + 1}{name}"
        return f"molecular dynamics{name}"
    return {"publish": "publishing", "done": "done", "stopped": "stopped"}[phase]
