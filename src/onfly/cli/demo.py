"""``onfly demo``: the main job on one machine, in minutes."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import ase.io
import typer
from ase.build import bulk
from rich.console import Console

from onfly.cli.errors import UNPROVEN
from onfly.cli.run import resume, run

__all__ = ["register"]

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
    if (folder / "artifacts" / "runs" / "demo" / "start.json").exists():
        code = _code(lambda: resume("demo", quiet=quiet))
    else:
        code = _code(lambda: run(config, run_id="demo", quiet=quiet))
    Console().print(
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
