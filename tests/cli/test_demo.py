"""The demo: what it says at its end, and (slow) that it shows what it is meant to show."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.demo import compared
from onfly.proof import LedgerEntry
from tests.cli.test_kill import command, prepare


def test_both_models_are_judged_on_the_same_steps():
    entries = [
        LedgerEntry(
            index=i, trajectory=0, step=i + 1, reason="audit", generation=1, label=str(i),
            error=error, foundation_error=foundation, errors={"energy": abs(error) / 0.04},
        )
        for i, (error, foundation) in enumerate([(0.03, -0.1), (-0.05, 0.02)])
    ]  # fmt: skip
    foundation, tuned = compared(entries, 0.04)
    assert "RMS) 72.1 meV, 1.8 times the tolerance; 1 of 2 steps" in foundation
    assert "RMS) 41.2 meV, 1.0 times the tolerance; 1 of 2 steps" in tuned


def test_the_demo_ends_in_plain_words_and_is_taken_up_where_it_was(tmp_path):
    home = prepare(tmp_path / "home", "resident")
    folder = home / "onfly-demo"
    folder.mkdir()
    # a demo of one's own: the file is the user's, and is not replaced
    (folder / "demo.yaml").write_text((home / "run.yaml").read_text())
    (home / "POSCAR").rename(folder / "POSCAR")
    done = command(home, "never", "demo", "--quiet")
    assert done.returncode == 0, done.stderr
    workspace = RunWorkspace(home / "artifacts", "demo")
    posterior = workspace.read_state().posterior
    words = done.stdout.split("In plain words")[1]
    for line in (
        "foundation model: typical error",
        "tuned model:      typical error",
        "at least 50% of such steps (confidence 95%)",
        f"{posterior.n_labels} labels, waited for {posterior.n_waits} times",
    ):
        assert line in words
    again = command(home, "never", "demo", "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stdout.split("In plain words")[1] == words


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_foundation_fails_and_the_tuned_model_is_proven(tmp_path, seed):
    pytest.importorskip("chgnet")
    pytest.importorskip("tblite")
    text = (files("onfly.cli") / "demo.yaml").read_text()
    from ase.build import bulk

    folder = tmp_path / "onfly-demo"
    folder.mkdir()
    bulk("NaCl", "rocksalt", 5.64, cubic=True).write(
        folder / "POSCAR", format="vasp", sort=True, direct=True
    )
    (folder / "demo.yaml").write_text(text.replace("seed: 0", f"seed: {seed}"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONFLY_")}
    done = subprocess.run(
        [sys.executable, "-c", "from onfly.cli import main; main()", "demo", "--quiet"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    workspace = RunWorkspace(folder / "artifacts", "demo")
    posterior = workspace.read_state().posterior
    assert posterior.n_waits <= 6
    block = workspace.read_ledger(posterior.n_records).closing()
    foundation = np.sqrt(np.mean([entry.foundation_error**2 for entry in block]))
    tuned = np.sqrt(np.mean([entry.error**2 for entry in block]))
    assert foundation > 1.4 * posterior.threshold_ev
    assert tuned < 0.5 * posterior.threshold_ev
