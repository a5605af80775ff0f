"""``onfly campaign``: look after a campaign that workers run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from onfly.cli.errors import fail

__all__ = ["LEFT", "app"]

# exit code if something is left for somebody to do
LEFT = 1
# between the two looks: longer than a worker needs to write the outcome of a job
PAUSE = 30.0

app = typer.Typer(help="Look after a campaign that workers run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look after a campaign that workers run."""


@app.command()
def mend(
    campaign: Annotated[str, typer.Argument(help="Its name.")],
    launchpad: Annotated[
        Path | None,
        typer.Option(help="LaunchPad file; default: the one that it was submitted to."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Also rerun what failed: its cause is mended.")
    ] = False,
    expire: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a sign of life after which a job is lost; default: "
            "RUN_EXPIRATION_SECS of FireWorks.",
            min=0,
        ),
    ] = None,
    pause: Annotated[
        float, typer.Option(help="Seconds between two looks; longer for a slow server.", min=0)
    ] = PAUSE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Mend a campaign on FireWorks after workers, nodes or the database have failed.

    Lost jobs are run again, outcomes that were written half are applied, and locks of processes
    that have ended are removed. No label that is on disk is computed again. It may be called at
    any time, as often as you like. Ends with 0 if nothing is left to do, with 1 if something is
    left for you (it is named), or if the database does not answer.
    """
    from pymongo.errors import PyMongoError

    from onfly.settings import get_settings

    settings = get_settings()
    file = _file(campaign, launchpad, settings.ARTIFACT_DIR)
    try:
        mended = _mend(file, campaign, settings.ARTIFACT_DIR, expire, pause, failed, dry_run)
    except PyMongoError as error:
        raise fail(no_answer(error), LEFT) from None
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in mended], indent=1))
    else:
        console = Console(highlight=False, soft_wrap=True, markup=False)
        for item in mended:
            console.print(str(item))
        n_left = sum(item.left for item in mended)
        console.print(
            f"{len(mended) - n_left} mended, {n_left} left" if mended else "nothing to mend"
        )
    if any(item.left for item in mended):
        raise typer.Exit(LEFT)


def _file(campaign: str, launchpad: Path | None, artifact_dir: Path) -> Path | None:
    """Return the file of the LaunchPad; None is that of FireWorks' configuration."""
    from onfly.flows.manifest import read_manifest

    try:
        manifest = read_manifest(artifact_dir, campaign)
    except ValueError as error:
        raise fail(error) from None
    if launchpad is None:
        if manifest is None:
            raise fail(
                f"nothing was submitted for a campaign {campaign} from {artifact_dir}: check the "
                "name and ONFLY_ARTIFACT_DIR, or give --launchpad"
            )
        if manifest.target == "local":
            raise fail(
                f"campaign {campaign} runs here, without workers: `onfly submit` it again, and "
                "each run goes on where it was"
            )
        if manifest.target == "remote":
            raise fail(
                f"campaign {campaign} runs on jobflow-remote, which mends by itself: "
                "`jf job rerun` and `jf runner` (project "
                f"{manifest.project or 'default'})"
            )
        launchpad = None if manifest.launchpad is None else Path(manifest.launchpad)
    if launchpad is not None and not launchpad.is_file():
        raise fail(f"there is no LaunchPad file {launchpad}")
    return launchpad


def _mend(
    file: Path | None,
    campaign: str,
    artifact_dir: Path,
    expire: float | None,
    pause: float,
    failed: bool,
    dry_run: bool,
) -> list[Any]:
    from fireworks import LaunchPad, fw_config

    from onfly.flows.mending import mend as mend_campaign

    launchpad = LaunchPad.auto_load() if file is None else LaunchPad.from_file(str(file))
    return mend_campaign(
        launchpad,
        campaign,
        artifact_dir,
        expiration=fw_config.RUN_EXPIRATION_SECS if expire is None else expire,
        pause=pause,
        rerun_failed=failed,
        dry_run=dry_run,
    )


def no_answer(error: Exception) -> str:
    """Return what to say of a database that does not answer as it should."""
    words = str(error).partition(", Timeout:")[0].partition(", full error")[0]
    text = f"the database does not answer: {type(error).__name__}: {words}"
    if "uthentication" in words or "not authorized" in words or "requires auth" in words:
        return f"{text}. It refuses the account: correct user name and password of the LaunchPad"
    return f"{text}. Nothing is lost: call this again when it does; what was mended stays so"
