"""How the command ends: messages, and exit codes that scripts can use.

0 ready, or done as asked; 1 something is left for the user to mend (`onfly doctor`, `onfly campaign
mend`); 2 bad input; 3 stopped before the end; 4 not accurate enough or not audited enough; 70 an
internal error. Ctrl-C ends with 130.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

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
    "ended_by",
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


# what the user can mend, by module: one that is not imported has raised nothing
_MENDABLE = {
    "onfly.settings": "SettingsError",
    "onfly.spec.yaml": "ConfigError",
    "onfly.structures": "StructureError",
    "onfly.artifacts.files": "ArtifactError",
    "onfly.artifacts.lock": "RunLockedError",
    "onfly.potentials.trust": "PickleRefusedError",
    "maggma.core": "StoreError",
}
_FILES = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def ended_by(error: Exception) -> typer.Exit:
    """Tell an exception that no command has caught, and return how the command ends.

    Mistakes that the user can mend are one message. Anything else is a fault of ours, whose
    traceback goes into a file, to be sent with a report.
    """
    loaded = [(sys.modules.get(name), kind) for name, kind in _MENDABLE.items()]
    mendable = tuple(getattr(module, kind) for module, kind in loaded if hasattr(module, kind))
    if isinstance(error, (*mendable, *_FILES)):
        return fail(error)
    text = f"internal error: {type(error).__name__}: {error}"
    try:
        descriptor, name = tempfile.mkstemp(prefix="onfly-error-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.writelines(traceback.format_exception(error))
        text += f"\nThis is a fault of onfly. Please report it with {name}."
    except OSError:
        text += "\nThis is a fault of onfly. Please report it."
    return fail(text, INTERNAL)


def verdict_code(state: str, *, proof_wanted: bool = True) -> int:
    """Return the exit code of a run that has ended with a verdict."""
    if state == "ready":
        return 0
    if state == "stopped":
        return STOPPED
    return UNPROVEN if proof_wanted else 0
