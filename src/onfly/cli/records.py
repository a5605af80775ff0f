"""How a run stands, as one flat record for people and for scripts."""

from __future__ import annotations

from typing import Any

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.progress import read_progress
from onfly.report import judge
from onfly.schemas import FineTunedModelDoc, RunDoc

__all__ = ["run_record"]


def run_record(workspace: RunWorkspace) -> dict[str, Any]:
    """Return how a run stands, as one flat record."""
    run: RunDoc = workspace.read_run()
    path = workspace.folder / "model.json"
    model = FineTunedModelDoc.model_validate_json(path.read_text()) if path.is_file() else None
    verdict = judge(run, model)
    now = read_progress(workspace.folder)
    step = max(run.md_step, int(now.get("md_step") or 0))
    return {
        "run_id": run.run_id,
        "formula_pretty": run.formula_pretty,
        "campaign": run.campaign,
        "state": verdict.state,
        "verdict": verdict.headline,
        "phase": run.phase,
        "foundation_model": run.foundation_model,
        "threshold_ev": run.threshold_ev,
        "md_step": step,
        "n_steps_total": run.n_steps_total,
        "n_labels": run.n_labels,
        "n_interventions": run.n_interventions,
        "n_audits": run.n_audits,
        "n_audits_within": run.n_audits_within,
        "coverage": run.n_audits_within / run.n_audits if run.n_audits else None,
        "n_failures": run.n_failures,
        "last_failure": run.failures[-1] if run.failures else None,
        "stop_reason": run.stop_reason,
        "model_id": run.model_id,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "folder": str(workspace.folder),
    }
