"""``onfly doctor``: is this machine ready, and if not, what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["app", "doctor", "register"]

app = typer.Typer()
# answered for the file itself, if one is given
_GENERAL = ("foundation models", "labellers", "VASP")
_MARKS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "error": "[red]error[/red]"}


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML file of a run or a campaign: what is missing for it?"),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Check every file and document instead: runs, labels, weights, models, stores.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Check settings, stores, artifact directory, foundation models, labellers and VASP.

    With a settings file, also whether all that this file needs is there: packages, model files,
    programs, pseudopotentials, elements. Ends with code 1 if something is missing that every run,
    or this one, needs; with --verify, if something that was written cannot be used any more. Each
    damaged thing is named, with what it can be made again from; what costs nothing, or has a sound
    copy, is a warning and ends with 0.
    """
    if verify:
        from onfly.cli.verify import show_damage

        show_damage(as_json=as_json)
        return
    from onfly.cli.checks import run_checks

    findings = list(run_checks())
    if config is not None:
        from onfly.cli.needs import file_findings

        findings = [f for f in findings if f.check not in _GENERAL]
        findings += file_findings(config)
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        # fits 80 columns: the remedy stands below what was found
        table = Table("check", "", box=box.SIMPLE, pad_edge=False)
        table.add_column("found", overflow="fold")
        for f in findings:
            # "onfly[mace]" is no markup
            remedy = f"\n→ {escape(f.remedy)}" if f.remedy else ""
            table.add_row(f.check, _MARKS[f.level], escape(f.message) + remedy)
        Console().print(table)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def register(parent: typer.Typer) -> None:
    """Mount the command."""
    parent.command("doctor")(doctor)
