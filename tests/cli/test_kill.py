"""A run that is killed at any moment goes on, and ends with the numbers of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import killed

# forked from one process that has imported torch and the rest: a new interpreter for each of the
# thirty commands would spend most of its time on imports
FORKED = multiprocessing.get_context("forkserver")
CONFIG = """\
structure: POSCAR
foundation_model: toy
labeller: emt
threshold: 100 meV
stages: [{n_steps: 40, temperature: 300}]
time_step: 2.0
posterior: {kind: sghmc, n_members: 2, n_steps: 30}
audit_interval: 10
audit_update_fraction: 0.0
checkpoint_interval: 10
n_workers: 1
mode: MODE
"""


def environment(home):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("ONFLY_")},
        "ONFLY_ARTIFACT_DIR": str(home / "artifacts"),
        "ONFLY_STORE_DIR": str(home / "store"),
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }


def command(home, moment, *args):
    """Run a command that is killed at a moment."""
    FORKED.set_forkserver_preload(killed.PRELOAD)
    process = FORKED.Process(target=killed.run, args=(moment, args, home, environment(home)))
    process.start()
    process.join(500)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"the command hangs: {(home / 'stderr').read_text()}")
    written = [(home / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(args, process.exitcode, *written)


def prepare(home, mode):
    from ase.build import bulk

    home.mkdir()
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.02, seed=1)
    crystal.write(home / "POSCAR", format="vasp", direct=True)
    (home / "run.yaml").write_text(CONFIG.replace("MODE", mode))
    return home


def numbers(home):
    folder = home / "artifacts" / "runs" / "r"
    labels = [json.loads(p.read_text()) for p in sorted((folder / "labels").glob("*.json"))]
    model = json.loads((folder / "model.json").read_text())
    thermo = {}
    for path in sorted((folder / "thermo").glob("*.csv")):
        for row in path.read_text().splitlines()[1:]:
            step = row.split(",")[0]
            assert step not in thermo, f"step {step} is recorded twice"
            thermo[step] = row
    keys = ("index", "reason", "md_step", "energy", "predicted_energy", "predicted_std")
    return {
        "labels": [[label[k] for k in keys] for label in labels],
        "weights": [m["sha256"] for m in model["ensemble"]["members"]],
        "calibration": model["calibration"],
        "audits": (model["n_audits"], model["n_audits_within"]),
        "thermo": thermo,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    home = prepare(tmp_path_factory.mktemp("kill") / "whole", "resident")
    # as a user does it
    done = subprocess.run(
        [Path(sys.executable).parent / "onfly", "run", "run.yaml", "--run-id", "r", "--quiet"],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return numbers(home)


MOMENTS = ["md", "label", "label-written", "update", "update-done", "publish", "published"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment, undisturbed, tmp_path):
    home = prepare(tmp_path / "home", "resident")
    first = command(home, moment, "run", "run.yaml", "--run-id", "r", "--quiet")
    assert first.returncode == -signal.SIGKILL, first.stderr
    before = len(list((home / "artifacts/runs/r/labels").glob("*.json")))
    resumed = command(home, "never", "resume", "r", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(home) == undisturbed
    assert len(undisturbed["labels"]) >= before > 0


@pytest.mark.parametrize("moment", ["md", "update-done"])
def test_killed_and_resumed_in_chained_mode(moment, undisturbed, tmp_path):
    home = prepare(tmp_path / "home", "chained")
    first = command(home, moment, "run", "run.yaml", "--run-id", "r", "--quiet")
    assert first.returncode == -signal.SIGKILL, first.stderr
    resumed = command(home, "never", "resume", "r", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(home) == undisturbed


def test_a_run_is_not_started_twice(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    command(home, "md", "run", "run.yaml", "--run-id", "r", "--quiet")
    again = command(home, "never", "run", "run.yaml", "--run-id", "r", "--quiet")
    assert again.returncode == 1
    assert "onfly resume r" in again.stderr
