"""``onfly demo``: the main job on one machine, in minutes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import ase.io
import typer
from ase.build import bulk
from rich.console import Console

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.errors import UNPROVEN
from onfly.cli.run import resume, run
from onfly.proof import LedgerEntry
from onfly.rounds.verdict import verdict_of
from onfly.settings import get_settings

__all__ = ["compared", "register"]

FOLDER = Path("onfly-demo")


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("demo")(demo)


def demo(
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view.")] = False,
) -> None:
    """Fine-tune CHGNet for NaCl with a real electronic-structure method, in minutes.

    Run, store and report are kept in onfly-demo/ in the working directory. An interrupted demo
    goes on where it was.
    """
    folder = FOLDER.absolute()
    folder.mkdir(exist_ok=True)
    settings = folder / "onfly.yaml"
    settings.write_text(f"ARTIFACT_DIR: {folder / 'artifacts'}\nSTORE_DIR: {folder / 'store'}\n")
    os.environ["ONFLY_CONFIG_FILE"] = str(settings)
    config = folder / "demo.yaml"
    if not config.exists():
        crystal = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        ase.io.write(folder / "POSCAR", crystal, format="vasp", sort=True, direct=True)
        config.write_text((files("onfly.cli") / "demo.yaml").read_text())
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, "demo")
    if (workspace.folder / "start.json").exists():
        code = _code(lambda: resume("demo", quiet=quiet))
    else:
        code = _code(lambda: run(config, run_id="demo", quiet=quiet))
    console = Console()
    console.print("\n[bold]In plain words[/bold]")
    for line in _words(workspace):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        "\nIn this directory `onfly status`, `onfly models list` and load_calculator find the "
        "demo\n(elsewhere after `export ONFLY_CONFIG_FILE="
        f"{settings}`).",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(code)


def _code(command: Callable[[], None]) -> int:
    """Return the exit code of a command; one that failed ends the demo."""
    try:
        command()
    except typer.Exit as end:
        if end.exit_code not in (0, UNPROVEN):
            raise
        return end.exit_code
    return 0


def compared(entries: Sequence[LedgerEntry], threshold: float) -> list[str]:
    """Return in words how far foundation and tuned model are off on the same labelled steps.

    Parameters
    ----------
    entries
        Audits, with the errors of both.
    threshold
        Tolerance of the energy (eV).

    Examples
    --------
    >>> entry = LedgerEntry(index=0, trajectory=0, step=9, reason="audit", generation=1, label="5f",
    ...                     error=0.01, foundation_error=-0.06, errors={"energy": 0.25})
    >>> for line in compared([entry], 0.04):
    ...     print(line)
    foundation model: typical error (RMS) 60.0 meV, 1.5 times the tolerance; 0 of 1 steps keep it
    tuned model:      typical error (RMS) 10.0 meV, 0.2 times the tolerance; 1 of 1 steps keep it
    """
    lines = []
    for name, errors in (
        ("foundation model:", [e.foundation_error for e in entries]),
        ("tuned model:     ", [e.error for e in entries]),
    ):
        known = [error for error in errors if error is not None]
        if not known:
            continue
        rms = _rms(known)
        kept = sum(abs(error) <= threshold for error in known)
        lines.append(
            f"{name} typical error (RMS) {1000 * rms:.1f} meV, {rms / threshold:.1f} times the "
            f"tolerance; {kept} of {len(known)} steps keep it"
        )
    return lines


def _rms(errors: Sequence[float]) -> float:
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def _words(workspace: RunWorkspace) -> list[str]:
    """Return what came out of the demo, a sentence each."""
    state = workspace.read_state()
    posterior = state.posterior
    ledger = workspace.read_ledger(posterior.n_records)
    judged = ledger.closing() or ledger.audits
    lines = []
    threshold = posterior.threshold_ev
    if judged and threshold is not None:
        lines.append(
            f"tolerance:        {1000 * threshold:.3g} meV for the energy of the cell, checked on "
            f"{len(judged)} steps of MD that were never learned"
        )
        lines += compared(judged, threshold)
    verdict = verdict_of(workspace, state)
    if verdict is not None and verdict.state == "ready":
        lines.append(
            f"proven:           the tuned model keeps the tolerance in at least "
            f"{posterior.spec.proof.coverage:.0%} of such steps (confidence "
            f"{verdict.confidence:.0%})"
        )
    elif verdict is not None:
        lines.append(f"not proven:       {verdict.state}; {posterior.stop_reason}")
    lines.append(
        f"price:            {posterior.n_labels} labels, waited for {posterior.n_waits} times, "
        "since labels of a round are computed side by side"
    )
    report = workspace.folder / "report.html"
    if report.is_file():
        lines.append(f"report:           {report}")
    return lines
