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


def _write(target: str, out: Path | None, png: bool, refresh: int | None) -> tuple[Path, bool]:
    """Write the page; return it and whether anything still runs."""
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
    except (OSError, ValueError) as error:
        from onfly.cli.errors import fail

        raise fail(error) from None
    return page, running


def report(
    run: RunArgument,
    out: OutOption = None,
    png: Annotated[
        bool, typer.Option("--png/--no-png", help="Also write the figures as PNG files.")
    ] = True,
) -> None:
    """Write the report of a run, or of all runs of a campaign, as one HTML page."""
    page, _ = _write(run, out, png, None)
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
    """Write the report again and again until the run ends; an open page follows by itself."""
    shown = False
    try:
        while True:
            page, running = _write(run, out, png, every)
            if not shown:
                typer.echo(f"{page} (renewed every {every} s; Ctrl-C ends)")
                shown = True
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
