"""The command that converts pickled model files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onfly.cli.errors import fail

__all__ = ["convert_command"]


def convert_command(
    file: Annotated[Path, typer.Argument(help="Pickled model file whose source you trust.")],
    out: Annotated[
        Path | None,
        typer.Argument(help="New file or its folder; default: beside FILE, as .safetensors."),
    ] = None,
) -> None:
    """Convert a pickled model file into one that is read without running anything.

    FILE is unpickled in a process of its own, which runs whatever it says: do this only to files
    whose source you trust.
    """
    from onfly.potentials.convert import convert

    try:
        target = convert(file, out)
    except (OSError, ValueError) as error:
        raise fail(error) from error
    typer.echo(target)
