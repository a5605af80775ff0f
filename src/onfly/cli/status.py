"""``onfly status``: how the runs stand."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from onfly.artifacts.workspace import RunWorkspace, list_runs
from onfly.cli.run import fail
from onfly.jobs.progress import read_progress
from onfly.report import judge
from onfly.schemas import FineTunedModelDoc, RunDoc
from onfly.settings import get_settings

__all__ = ["register", "run_record"]


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("status")(status)


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


def status(
    run_id: Annotated[str | None, typer.Argument(help="One run; default: all.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only runs of a campaign.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show how the runs stand: step, labels, audits, coverage, what failed and why."""
    root = get_settings().ARTIFACT_DIR
    workspaces = list_runs(root)
    if run_id is not None:
        workspaces = [w for w in workspaces if w.run_id == run_id]
        if not workspaces:
            raise fail(f"no run {run_id} in {root}")
    records = [run_record(w) for w in workspaces]
    if campaign is not None:
        records = [r for r in records if r["campaign"] == campaign]
    if as_json:
        typer.echo(json.dumps(records, indent=1))
        return
    console = Console()
    if not records:
        console.print(f"no runs in {root}; start one with `onfly run CONFIG.yaml`")
        return
    table = Table("run", "formula", "state", "MD steps", "labels", "audits within", "coverage", "")
    for r in records:
        coverage = "" if r["coverage"] is None else f"{r['coverage']:.0%}"
        table.add_row(
            r["run_id"],
            r["formula_pretty"],
            r["state"],
            f"{r['md_step']}/{r['n_steps_total']}",
            str(r["n_labels"]),
            f"{r['n_audits_within']}/{r['n_audits']}",
            coverage,
            r["last_failure"] or "",
        )
    console.print(table)
