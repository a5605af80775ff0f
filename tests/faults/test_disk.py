"""Full at every single write, a disk costs at most the label that could not be written."""

from __future__ import annotations

import errno
import sqlite3
from types import SimpleNamespace

import pytest
import typer
from maggma.core import StoreError
from typer.testing import CliRunner

from onfly.artifacts import atomic
from onfly.artifacts.atomic import DiskFullError, require_space
from onfly.cli import run as run_command
from onfly.stores import EmbeddedStore
from tests.campaign.conftest import metals
from tests.faults.counted import FILE, calls, kept
from tests.faults.disk import Disk
from tests.faults.numbers import numbers
from tests.faults.small import go

# of the shorter variant: one write of this many
STRIDE = 60


@pytest.fixture
def place(monkeypatch, tmp_path):
    def use(name):
        home = tmp_path / name
        home.mkdir()
        monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
        monkeypatch.setenv(FILE, str(tmp_path / f"{name}.calls"))
        monkeypatch.delenv("ONFLY_CONFIG_FILE", raising=False)
        monkeypatch.chdir(home)
        return home, tmp_path / f"{name}.calls"

    return use


def undisturbed(place):
    home, file = place("whole")
    disk = Disk(home)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        go(home)
    return numbers(home / "artifacts"), disk.count, calls(file)


def filled_at(place, n, expected, configurations):
    """Fill the disk at the n-th write; resume with space; return how often it was paid more."""
    home, file = place(str(n))
    disk = Disk(home)
    disk.full_at = n
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        told: OSError | None = None
        try:
            go(home)
        except OSError as error:
            told = error
        before, known = len(calls(file)), kept(home / "artifacts")
    if told is None:  # only a view of the run could not be written
        assert all("progress" in refused for refused in disk.refused), disk.refused
    else:
        assert isinstance(told, DiskFullError), (told, disk.refused)
        assert told.errno == errno.ENOSPC
        assert "the disk is full: free some space on it" in str(told)
        assert "onfly resume" in str(told)
    go(home)  # somebody made space
    assert numbers(home / "artifacts") == expected, disk.refused
    paid = calls(file)
    assert set(paid) == set(configurations)
    assert not set(paid[before:]) & known
    return len(paid) - len(configurations)


def test_full_at_some_writes(place):
    expected, count, configurations = undisturbed(place)
    assert count > 100
    for n in range(1 + count % 7, count + 1, STRIDE):
        assert filled_at(place, n, expected, configurations) <= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_full_at_every_write(place, record_property):
    expected, count, configurations = undisturbed(place)
    more = [filled_at(place, n, expected, configurations) for n in range(1, count + 1)]
    message = f"{count} writes, {sum(more)} of them cost the label that could not be written"
    record_property("writes", message)
    print(message)  # noqa: T201
    assert max(more) <= 1


def test_nothing_is_paid_that_could_not_be_written(place, monkeypatch):
    home, file = place("small")
    usage = SimpleNamespace(total=10**9, used=10**9, free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DiskFullError, match="the disk is full"):
            require_space(home / "not" / "there")
        with pytest.raises(DiskFullError, match="the disk is full"):
            go(home)
    assert calls(file) == []
    assert go(home).phase == "done"


def test_the_command_says_what_to_do(place, monkeypatch):
    home, _ = place("command")
    metals(1)[0].to(str(home / "POSCAR"), fmt="poscar")
    (home / "run.yaml").write_text(
        "structure: POSCAR\nfoundation_model: toy\nlabeller: emt\nthreshold: 100 meV\n"
        "stages: [{n_steps: 4, temperature: 300}]\nmode: resident\n"
        "posterior: {kind: sghmc, n_members: 2, n_steps: 3}\nproof: {attempts: 0}\n"
    )
    app = typer.Typer()
    run_command.register(app)
    disk = Disk(home / "artifacts" / "runs" / "r" / "ensembles")
    disk.full_at = 1
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        done = CliRunner().invoke(app, ["run", "run.yaml", "--run-id", "r", "--quiet"])
    assert done.exit_code == 3, done.output
    assert "the disk is full: free some space on it" in done.output
    assert "onfly resume r" in done.output
    monkeypatch.setattr(run_command, "finish", lambda *arguments: 0)  # no report
    assert CliRunner().invoke(app, ["resume", "r", "--quiet"]).exit_code == 0


def test_a_full_disk_under_the_embedded_store(tmp_path):
    store = EmbeddedStore(tmp_path, "things", key="k")
    store.connect()
    store.update({"k": 1, "text": "x" * 10_000})
    connection: sqlite3.Connection = store._collection._store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="check that the disk is not full"):
        store.update([{"k": k, "text": "x" * 10_000} for k in range(2, 200)])
    connection.execute("PRAGMA max_page_count=1000000")
    assert store.count() == 1
    store.update({"k": 2, "text": "y"})
    assert store.count() == 2
