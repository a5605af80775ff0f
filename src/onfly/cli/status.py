"""``onfly status``: how the runs stand."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from onfly.cli.errors import fail
from onfly.cli.records import RecordError, run_folders, run_record
from onfly.cli.run_table import print_runs
from onfly.settings import get_settings

__all__ = ["register"]


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
        from onfly.cli.campaign_status import show_campaign

        show_campaign(campaign, get_settings(), as_json=as_json)
        return
    folders = run_folders(root)
    if run_id is not None:
        folders = [folder for folder in folders if folder.name == run_id]
        if not folders:
            raise fail(f"no run {run_id} in {root}")
    records, damaged = [], []
    for folder in folders:
        try:
            records.append(run_record(folder))
        except RecordError as error:
            damaged.append(str(error))  # one damaged run hides no other
    if campaign is not None:
        records = [r for r in records if r["campaign"] == campaign]
    for message in damaged:
        Console(stderr=True).print(message, highlight=False, markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(records, indent=1))
        return
    console = Console()
    if not records:
        console.print(f"no runs in {root}; start one with `onfly run CONFIG.yaml`")
        return
    print_runs(console, records)
