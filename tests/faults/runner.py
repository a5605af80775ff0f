"""The command in this process, as the entry point calls it, in a folder of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.faults.inputs.case import COPPER, Case

__all__ = ["Ended", "invoke", "prepare", "snapshot"]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its code, and all that it said."""

    code: int
    text: str


def prepare(case: Case, home: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the files of a case and set its variables."""
    for name in [n for n in os.environ if n.startswith(("ONFLY_", "JOBFLOW_", "ATOMATE2_"))]:
        patch.delenv(name)
    home.mkdir(parents=True, exist_ok=True)
    for name, content in {"POSCAR": COPPER, **case.files}.items():
        raw = content.encode() if isinstance(content, str) else content
        (home / name).write_bytes(raw)
    variables = {
        "HOME": "HOME",
        "ONFLY_ARTIFACT_DIR": "HOME/artifacts",
        "ONFLY_STORE_DIR": "HOME/store",
        **case.environment,
    }
    for name, value in variables.items():
        patch.setenv(name, value.replace("HOME", str(home)))
    patch.syspath_prepend(str(home))
    patch.chdir(home)


def invoke(*words: str) -> Ended:
    """Run the command line."""
    from onfly.cli import app

    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return Ended(result.exit_code, result.stdout + result.stderr)


def snapshot(home: Path) -> set[str]:
    """Return the files and folders of a folder; compiled modules do not count."""
    found = (path.relative_to(home).as_posix() for path in home.rglob("*"))
    # caches of matplotlib, which looks for fonts once
    others = ("__pycache__", ".cache", ".config")
    return {path for path in found if not any(name in path for name in others)}
