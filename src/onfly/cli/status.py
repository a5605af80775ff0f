"""``onfly status``: how the runs stand."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from onfly.artifacts.workspace import list_runs
from onfly.cli.campaign_status import show_campaign
from onfly.cli.errors import fail
from onfly.cli.records import run_record
from onfly.settings import get_settings

__all__ = ["register", "run_record"]


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("status")(status)


def status(
    run_id: Annotated[str | None, typer.Argument(help="One run; default: all.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only runs of a campaign.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show how the runs stand: step, labels, audits, coverage, what failed and why."""
    root = get_settings().ARTIFACT_DIR
    if campaign is not None and run_id is None:
        show_campaign(campaign, get_settings(), as_json=as_json)
        return
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
