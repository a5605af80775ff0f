"""A machine of its own for scripts, run in this process: importing torch once is slow enough."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Settings and a working directory that may be littered."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


@pytest.fixture
def run_script(machine, monkeypatch, capsys):
    """Run a script of the repository as from the command line; return what it printed."""

    def run(path, *arguments):
        script = ROOT / path
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        monkeypatch.syspath_prepend(str(script.parent))
        capsys.readouterr()
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run
