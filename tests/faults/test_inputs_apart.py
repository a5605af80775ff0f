"""What has crashed or hung the interpreter is tried in a process that may be killed."""

from __future__ import annotations

import re

import pytest

from tests.cli.test_kill import command
from tests.faults.inputs import FILES, Case
from tests.faults.inputs.case import COPPER, settings

_NAMES = (
    "position nan",
    "cell inf",
    "256 000 atoms",
    "xyz with an enormous number",
    "alias bomb",
    "100 000 levels",
)
_DEVICES = [c for c in FILES if "/dev/zero" in (*c.words, c.files.get("run.yaml", "")[:40])]
APART = [next(c for c in FILES if c.name == name) for name in _NAMES] + _DEVICES[:1]


def write(home, case):
    home.mkdir()
    for name, content in {"POSCAR": COPPER, **case.files}.items():
        (home / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return home


_QUICK = ("position nan", "alias bomb")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=() if c.name in _QUICK else pytest.mark.slow) for c in APART],
)
def test_it_neither_hangs_nor_crashes(case, tmp_path):
    home = write(tmp_path / "home", case)
    ended = command(home, "never", *case.words)
    assert ended.returncode == case.code, ended.stderr
    assert re.search(case.says, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (home / "artifacts").exists()


@pytest.mark.parametrize(
    ("kind", "in_process"),
    [
        ("Leaves", "true"),
        ("Speaks", "false"),
        pytest.param("Leaves", "false", marks=pytest.mark.slow),
        pytest.param("Speaks", "true", marks=pytest.mark.slow),
    ],
)
def test_a_labeller_that_exits_or_speaks_no_utf8_is_a_failed_label(kind, in_process, tmp_path):
    kwargs = f"{{calculator: tests.faults.talking.{kind}, in_process: {in_process}}}"
    labeller = f"{{name: onfly.labels.ase.AseLabelMaker, kwargs: {kwargs}}}"
    text = settings({"labeller": labeller, "stopping": "{max_failures: 1}"})
    home = write(tmp_path / "home", Case("", "", {"run.yaml": text}))
    ended = command(home, "never", "run", "run.yaml", "--run-id", "r", "--quiet")
    assert ended.returncode == 3, ended.stderr
    assert "onfly resume r" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
