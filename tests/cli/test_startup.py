"""What the command imports before it works, and what it says about its commands."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from onfly.cli import COMMANDS

HEAVY = {"torch", "pymatgen", "jobflow", "ase", "scipy", "atomate2", "maggma"}
CALL = """
import sys
from onfly.cli import main
sys.argv = ["onfly", *sys.argv[1:]]
try:
    main()
finally:
    print("MODULES", *sys.modules)
"""


def call(*words):
    done = subprocess.run(
        [sys.executable, "-c", CALL, *words], capture_output=True, text=True, check=False
    )
    shown, _, modules = done.stdout.rpartition("MODULES")
    return done.returncode, shown, done.stderr, set(modules.split())


def cpu(*arguments):
    """Return the least CPU seconds of three processes."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def test_help_imports_nothing_heavy():
    code, shown, _, modules = call("--help")
    assert code == 0
    assert not HEAVY & modules
    for name, command in COMMANDS.items():
        assert name in shown
        assert command.help.split()[-1] in shown


@pytest.mark.parametrize("words", [["run"], ["submit", "--to", "local"]])
def test_a_file_with_an_error_imports_nothing_heavy(tmp_path, words):
    path = tmp_path / "bad.yaml"
    path.write_text("structure: POSCAR\nthresold: 50 meV\n")
    code, _, error, modules = call(words[0], str(path), *words[1:])
    assert code == 2
    assert f"{path}, line 2: thresold: unknown key: did you mean threshold?" in error
    assert not HEAVY & modules


def test_an_unknown_command_is_told():
    code, _, error, modules = call("rum")
    assert code == 2
    assert "No such command 'rum'. Did you mean 'run'" in error
    assert not HEAVY & modules


def test_help_costs_at_most_three_times_typer():
    assert cpu("-c", CALL, "--help") <= 3 * cpu("-c", "import typer")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_sentences_are_those_of_the_commands(name):
    lazy = COMMANDS[name]
    command = lazy.load(name)
    assert command.help is not None
    assert " ".join(command.help.split("\n\n")[0].split()) == lazy.help


def test_status_imports_nothing_heavy(tmp_path, monkeypatch):
    from onfly.testing.models import toy_run, write_toy_run

    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    write_toy_run(tmp_path, toy_run("first"))
    damaged = tmp_path / "runs" / "second" / "run.json"
    damaged.parent.mkdir()
    damaged.write_text('{"posterior": {}}')
    code, shown, error, _ = call("status")
    assert code == 0
    assert "first" in shown
    # what is wrong with a state is said by who validates it
    assert "second/run.json cannot be read: it is damaged" in error
    damaged.unlink()
    code, shown, _, modules = call("status", "--json")
    assert code == 0
    assert '"run_id": "first"' in shown
    assert not HEAVY & modules
