"""A run that is killed at any moment goes on, and ends with the numbers of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess

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
posterior: {kind: sghmc, n_members: 2, n_steps: 12}
audit_interval: 10
audit_update_fraction: 0.0
checkpoint_interval: 10
proof: {coverage: 0.5, steps: 30}
n_workers: 1
walkers: WALKERS
initial_labels: WALKERS
initial_steps: 5
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


def command(home, moment, *args, report=False):
    """Run a command that is killed at a moment.

    At its end it writes no report, unless it is asked to: the figures of one take longer than the
    run. They have tests of their own in `tests/report`.
    """
    FORKED.set_forkserver_preload(killed.PRELOAD)
    process = FORKED.Process(
        target=killed.run, args=(moment, args, home, environment(home), report)
    )
    process.start()
    process.join(500)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"the command hangs: {(home / 'stderr').read_text()}")
    # a labeller may write what is no text
    written = [(home / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(args, process.exitcode, *written)


def prepare(home, mode, walkers=1):
    from ase.build import bulk

    home.mkdir()
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.02, seed=1)
    crystal.write(home / "POSCAR", format="vasp", direct=True)
    (home / "run.yaml").write_text(CONFIG.replace("MODE", mode).replace("WALKERS", str(walkers)))
    return home


def numbers(home):
    """Return what two runs must have in common: ledger, labels, weights, MD; without times."""
    from onfly.artifacts.workspace import RunWorkspace
    from onfly.labels.store import LabelStore

    root = home / "artifacts"
    workspace = RunWorkspace(root, "r")
    state, store = workspace.read_state(), LabelStore(root / "labels")
    ledger = workspace.read_ledger(state.posterior.n_records)
    model = json.loads((workspace.folder / "model.json").read_text())
    thermo = {}
    for folder in workspace.trajectory_folders():
        for path in folder.thermo_files():
            for row in path.read_text().splitlines()[1:]:
                key = (folder.index, row.split(",")[0])
                assert key not in thermo, f"step {key} is recorded twice"
                thermo[key] = row
    shown = ("state", "n_labels", "n_waits", "n_audits", "n_audits_within", "calibration")
    return {
        "ledger": [{**e.model_dump(), "label": None} for e in ledger.entries],
        "labels": [(store.get(e.label).energy, store.get(e.label).forces) for e in ledger.entries],
        "weights": [m["sha256"] for m in model["ensemble"]["members"]],
        "model": {key: model[key] for key in shown},
        "steps": [t.md_step for t in state.trajectories],
        "thermo": thermo,
    }


def n_paid(home):
    return len(list((home / "artifacts" / "runs" / "r" / "answers").glob("*.json")))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the numbers of a run that nobody killed, for 1 and for 3 trajectories."""
    found = {}

    def run(walkers):
        if walkers not in found:
            home = prepare(tmp_path_factory.mktemp("kill") / "whole", "resident", walkers)
            done = command(home, "never", "run", "run.yaml", "--run-id", "r", "--quiet")
            assert done.returncode == 0, done.stderr
            found[walkers] = numbers(home)
        return found[walkers]

    return run


def killed_and_resumed(home, moment):
    """Kill a run at a moment and take it up, and return how many labels it had."""
    first = command(home, moment, "run", "run.yaml", "--run-id", "r", "--quiet")
    assert first.returncode == -signal.SIGKILL, first.stderr
    before = n_paid(home)
    resumed = command(home, "never", "resume", "r", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    return before


# with the slow ones: what has not written anything yet
MOMENTS = [
    "md",
    pytest.param("label", marks=pytest.mark.slow),
    "label-written",
    "judged",
    "update",
    "update-done",
    pytest.param("publish", marks=pytest.mark.slow),
    "published",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment, undisturbed, tmp_path):
    home = prepare(tmp_path / "home", "resident")
    before = killed_and_resumed(home, moment)
    assert numbers(home) == undisturbed(1)
    assert n_paid(home) >= before > 0


@pytest.mark.parametrize(
    "moment", ["md", pytest.param("judged", marks=pytest.mark.slow), "update-done"]
)
def test_killed_and_resumed_in_chained_mode(moment, undisturbed, tmp_path):
    home = prepare(tmp_path / "home", "chained")
    killed_and_resumed(home, moment)
    assert numbers(home) == undisturbed(1)


@pytest.mark.parametrize(
    ("mode", "moment"),
    [
        pytest.param("resident", "md", marks=pytest.mark.slow),
        ("resident", "update-done"),
        ("chained", "md"),
        pytest.param("chained", "update-done", marks=pytest.mark.slow),
    ],
)
def test_three_trajectories_killed_and_resumed(mode, moment, undisturbed, tmp_path):
    home = prepare(tmp_path / "home", mode, walkers=3)
    killed_and_resumed(home, moment)
    assert len(numbers(home)["steps"]) == 3
    assert numbers(home) == undisturbed(3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("walkers", [1, 3])
def test_killed_again_and_again_at_random_moments(walkers, seed, undisturbed, tmp_path):
    draw = random.Random(f"{walkers} {seed}")
    home = prepare(tmp_path / "home", draw.choice(["resident", "chained"]), walkers)
    words = ("run", "run.yaml", "--run-id", "r", "--quiet")
    killed = 0
    for _ in range(30):
        done = command(home, f"after {draw.uniform(0.3, 4.0):.3f}", *words)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        if (home / "artifacts" / "runs" / "r" / "run.json").exists():
            words = ("resume", "r", "--quiet")
    else:
        assert command(home, "never", *words).returncode == 0
    assert killed > 0
    assert numbers(home) == undisturbed(walkers)


def test_a_run_is_not_started_twice(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    command(home, "md", "run", "run.yaml", "--run-id", "r", "--quiet")
    again = command(home, "never", "run", "run.yaml", "--run-id", "r", "--quiet")
    assert again.returncode == 2
    assert "onfly resume r" in again.stderr
