"""``onfly report`` and ``onfly watch``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register", "report", "watch"]

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder or identifier of a run; folder of several runs; or name of a campaign.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The page; report.html in the run's folder unless given."),
]


def _write(target: str, out: Path | None, png: bool, refresh: int | None) -> tuple[Path, bool, str]:
    """Write the page; return it, whether anything still runs, and how a campaign stands."""
    # matplotlib and the rest take a second to import: not for `onfly --help`
    from onfly.report import build_campaign_report, build_report, find_runs, judge
    from onfly.report.data import load_documents
    from onfly.settings import get_settings

    root = get_settings().ARTIFACT_DIR
    try:
        folders, single = find_runs(target, root)
        if single:
            page = build_report(folders[0], out, png=png, refresh=refresh)
        else:
            given = Path(target).expanduser()
            default = given / "campaign.html" if given.is_dir() else root / f"{target}.html"
            page = build_campaign_report(folders, out or default, png=png, refresh=refresh)
        running = any(judge(*load_documents(folder)).state == "running" for folder in folders)
        line, waiting = ("", False) if single else _campaign(target)
    except (FileNotFoundError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    return page, running or waiting, line


def _campaign(name: str) -> tuple[str, bool]:
    """Return in a line how a campaign stands, and whether some of its compounds have not begun."""
    from onfly.cli.campaign_status import campaign_records, doing, summary
    from onfly.flows.manifest import read_manifest
    from onfly.settings import get_settings

    settings = get_settings()
    manifest = read_manifest(settings.ARTIFACT_DIR, name)
    if manifest is None:
        return "", False  # a folder of runs, which says nothing of what is to come
    records = campaign_records(name, settings, manifest)
    now = [f"{r['run_id']}: {doing(r)}" for r in records if r["state"] == "running"]
    return "\n  ".join([summary(records), *now]), any(r["state"] == "waiting" for r in records)


def report(
    run: RunArgument,
    out: OutOption = None,
    png: Annotated[
        bool, typer.Option("--png/--no-png", help="Also write the figures as PNG files.")
    ] = True,
) -> None:
    """Write the report of a run, or of all runs of a campaign, as one HTML page."""
    page, *_ = _write(run, out, png, None)
    typer.echo(str(page))


def watch(
    run: RunArgument,
    out: OutOption = None,
    every: Annotated[
        int, typer.Option("--every", "-n", min=1, help="Seconds between two versions.")
    ] = 30,
    png: Annotated[
        bool, typer.Option("--png/--no-png", help="Also write the figures as PNG files.")
    ] = False,
) -> None:
    """Write the report again and again until the run ends; an open page follows by itself.

    Of a campaign, also a line for each run that is working or waiting, when something has changed.
    """
    shown, said = False, ""
    try:
        while True:
            page, running, line = _write(run, out, png, every)
            if not shown:
                typer.echo(f"{page} (renewed every {every} s; Ctrl-C ends)")
                shown = True
            if line and line != said:
                typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
                said = line
            if not running:
                break
            time.sleep(every)
    except KeyboardInterrupt:
        typer.echo("")
    # the last version stands still
    _write(run, out, png, None)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(report)
    app.command()(watch)
