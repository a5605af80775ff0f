"""How the command ends when something is wrong."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

__all__ = ["fail"]


def fail(message: object) -> typer.Exit:
    """Print an error and return the exception that ends the command with code 1."""
    Console(stderr=True).print(
        f"[red]error:[/red] {escape(str(message))}", highlight=False, soft_wrap=True
    )
    return typer.Exit(1)
