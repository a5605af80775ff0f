"""How the command ends: messages, and exit codes that scripts can use.

0 ready, or done as asked; 2 bad input; 3 stopped before the end; 4 not accurate enough or not
audited enough; 70 an internal error. Ctrl-C ends with 130.
"""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

__all__ = [
    "BAD_INPUT",
    "EXIT_CODES",
    "INTERNAL",
    "INTERRUPTED",
    "STOPPED",
    "UNPROVEN",
    "fail",
    "verdict_code",
]

BAD_INPUT, STOPPED, UNPROVEN, INTERNAL, INTERRUPTED = 2, 3, 4, 70, 130
EXIT_CODES = (
    "Exit codes: 0 ready, or done as asked; 2 bad input; 3 stopped; 4 not accurate enough, or "
    "needs more audits; 70 internal error."
)


def fail(message: object, code: int = BAD_INPUT) -> typer.Exit:
    """Print an error and return the exception that ends the command with a code."""
    Console(stderr=True).print(
        f"[red]error:[/red] {escape(str(message))}", highlight=False, soft_wrap=True
    )
    return typer.Exit(code)


def verdict_code(state: str, *, proof_wanted: bool = True) -> int:
    """Return the exit code of a run that has ended with a verdict."""
    if state == "ready":
        return 0
    if state == "stopped":
        return STOPPED
    return UNPROVEN if proof_wanted else 0
