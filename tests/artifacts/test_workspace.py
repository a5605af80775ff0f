from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from onfly.artifacts import ArtifactError, RunLockedError, RunWorkspace, list_runs
from onfly.bayes.posterior import PosteriorState
from onfly.proof import Ledger, LedgerEntry
from onfly.schemas import ArtifactRef, EnsembleDoc, RequestDoc


@pytest.fixture
def workspace(tmp_path):
    return RunWorkspace(tmp_path, "run-1")


@pytest.mark.parametrize("run_id", ["", "..", "a/b", ".hidden", "a b"])
def test_run_id_must_name_a_folder(tmp_path, run_id):
    with pytest.raises(ValueError, match="cannot name a folder"):
        RunWorkspace(tmp_path, run_id)


def test_state_is_replaced_and_listed(workspace, make_run, tmp_path):
    assert list_runs(tmp_path) == []
    assert not workspace.exists()
    with pytest.raises(FileNotFoundError, match="no run 'run-1'"):
        workspace.read_state()
    workspace.write_state(make_run(round=1))
    state = make_run(round=2)
    workspace.write_state(state)
    assert workspace.read_state() == state
    assert [w.run_id for w in list_runs(tmp_path)] == ["run-1"]
    with pytest.raises(ValueError, match="given to the folder"):
        workspace.write_state(make_run(run_id="other"))


@pytest.mark.parametrize("size", [0, 200, -5])
def test_a_damaged_state_is_told(workspace, make_run, size):
    workspace.write_state(make_run())
    path = workspace.folder / "run.json"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArtifactError, match="it is damaged"):
        workspace.read_state()


def test_a_state_of_version_0_1_is_told_in_one_message():
    root = Path(__file__).parent.parent / "data/v0_1/artifacts"
    with pytest.raises(ArtifactError, match=r"version 0\.1.*install onfly 0\.1") as caught:
        RunWorkspace(root, "v0-1").read_state()
    assert "\n" not in str(caught.value)


@pytest.fixture
def ledger():
    """A ledger of five audits, learned from after the third."""
    found = Ledger()
    for index in range(5):
        entry = LedgerEntry(
            index=index,
            trajectory=0,
            step=10 * index,
            reason="audit",
            generation=0,
            mean=-1.0,
            std=0.1 / 3,
            error=float("nan") if index == 4 else 0.01,
            errors={"energy": 0.1},
            label=f"key-{index}",
        )
        found = found.append(entry)
        if index == 2:
            found = found.learned(generation=1, n_labels=3)
    return found


def test_the_ledger_comes_back_as_it_was(workspace, ledger):
    assert workspace.read_ledger(0) == Ledger()
    n_records = workspace.write_ledger(ledger)
    assert n_records == 6
    read = workspace.read_ledger(n_records)
    assert read.to_lines() == ledger.to_lines()
    assert read.learnings == ledger.learnings
    assert read.entries[:4] == ledger.entries[:4]
    assert np.isnan(read.entries[4].error)


def test_records_that_the_state_does_not_count_do_not_count(workspace, ledger):
    workspace.write_ledger(ledger)
    assert workspace.read_ledger(4).n_labels == 3
    with workspace.ledger_path.open("a") as file:
        file.write("half a li")
    assert workspace.read_ledger(6).n_labels == 5


def test_a_cut_ledger_is_told(workspace, ledger):
    n_records = workspace.write_ledger(ledger)
    lines = workspace.ledger_path.read_text().splitlines(keepends=True)
    workspace.ledger_path.write_text("".join(lines[:-2]))
    with pytest.raises(ArtifactError, match="has 4 of 6 lines"):
        workspace.read_ledger(n_records)
    workspace.ledger_path.unlink()
    with pytest.raises(ArtifactError, match="has 0 of 6 lines"):
        workspace.read_ledger(n_records)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:1], lines[1][:30], *lines[2:]],  # cut
        lambda lines: [lines[0], lines[0], *lines[2:]],  # twice
        lambda lines: [lines[0], lines[1].replace("audit", "because"), *lines[2:]],
    ],
)
def test_a_damaged_line_of_the_ledger_is_named(workspace, ledger, change):
    n_records = workspace.write_ledger(ledger)
    lines = workspace.ledger_path.read_text().splitlines()
    workspace.ledger_path.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(ArtifactError, match="line 2 of the ledger"):
        workspace.read_ledger(n_records)


def test_answers_are_kept_until_they_are_cleared(workspace):
    request = RequestDoc(
        reason="audit",
        trajectory=0,
        md_step=7,
        structure=ArtifactRef(path="md/x", sha256="0" * 64, nbytes=1),
    )
    assert workspace.read_answer(request.key) is None
    workspace.write_answer(request.key, {"label": "abc"})
    assert workspace.read_answer(request.key) == {"label": "abc"}
    (path,) = (workspace.folder / "answers").iterdir()
    path.write_text('{"label": "a')
    assert workspace.read_answer(request.key) is None
    workspace.clear_answers([request, request])
    assert list((workspace.folder / "answers").iterdir()) == []


def test_training_records_and_caches(workspace):
    workspace.write_training(3, {"log_likelihood": [1.0, np.float64(2.0)], "n": np.int64(4)})
    workspace.write_training(10, {"n": 5})
    assert workspace.trainings() == [{"log_likelihood": [1.0, 2.0], "n": 4}, {"n": 5}]
    for generation in (1, 2):
        (workspace.update_cache(generation) / "chain").write_text("x")
    workspace.clear_cache(before=2)
    assert not (workspace.folder / "cache/00001").exists()
    assert (workspace.folder / "cache/00002/chain").exists()


def test_trajectories_have_folders_of_their_own(workspace):
    assert workspace.trajectory_folders() == []
    for index in (1, 0):
        folder = workspace.trajectory(index)
        folder.thermo_path(3).write_text(str(index))
        folder.frames_path(12).write_text("x")
        folder.frames_path(2).write_text("x")
    first, second = workspace.trajectory_folders()
    assert (first.index, second.index) == (0, 1)
    assert [p.read_text() for p in second.thermo_files()] == ["1"]
    assert [p.name for p in first.trajectory_files()] == ["00002.extxyz", "00012.extxyz"]
    assert first.checkpoint_path != second.checkpoint_path


def test_trajectories_are_locked_one_by_one(workspace):
    first, second = workspace.trajectory(0), workspace.trajectory(1)
    with (
        first.lock(),
        second.lock(),
        workspace.lock(),
        pytest.raises(RunLockedError, match="trajectory 0 of run run-1"),
        first.lock(),
    ):
        pass
    with first.lock():
        pass


def _state(seed):
    generator = torch.Generator().manual_seed(seed)
    members = tuple({"w": torch.randn(3, 2, generator=generator)} for _ in range(2))
    return PosteriorState(
        kind="sghmc", members=members, extra={"s": torch.randn(2, generator=generator)}
    )


def test_ensembles_round_trip_and_retention(workspace):
    docs = [workspace.save_ensemble(_state(seed), seed, n_labels=seed) for seed in range(4)]
    states = [workspace.save_md_state({"step": np.asarray(i)}) for i in range(3)]
    workspace.write_training(1, {})
    freed = workspace.prune([*docs[-2:], states[-1], None])
    assert freed > 0
    for doc, seed in zip(docs, range(4), strict=True):
        if seed < 2:
            with pytest.raises(ArtifactError, match="is not in"):
                workspace.load_ensemble(doc)
            continue
        loaded = workspace.load_ensemble(EnsembleDoc.model_validate_json(doc.model_dump_json()))
        assert loaded.kind == "sghmc"
        for a, b in zip(loaded.members, _state(seed).members, strict=True):
            assert torch.equal(a["w"], b["w"])
        assert torch.equal(loaded.extra["s"], _state(seed).extra["s"])
    assert int(workspace.load_md_state(states[-1])["step"]) == 2
    with pytest.raises(ArtifactError):
        workspace.load_md_state(states[0])
    assert len(workspace.trainings()) == 1
    assert workspace.prune([*docs[-2:], states[-1]]) == 0


def test_lock_excludes_another_holder_and_dies_with_its_process(workspace, tmp_path):
    code = (
        "import sys, time\nfrom onfly.artifacts import RunWorkspace\n"
        f"with RunWorkspace({str(tmp_path)!r}, 'run-1').lock():\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "held"
    with pytest.raises(RunLockedError, match=f"process {process.pid}"), workspace.lock():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with workspace.lock():
        pass
    with workspace.lock():
        pass


def test_an_acknowledged_ledger_survives_a_kill(tmp_path):
    """A process that is killed while it writes leaves a ledger that can be read whole."""
    code = (
        "from onfly.artifacts import RunWorkspace\nfrom onfly.proof import Ledger, LedgerEntry\n"
        f"workspace, ledger = RunWorkspace({str(tmp_path)!r}, 'run-1'), Ledger()\n"
        "for index in range(100000):\n"
        "    ledger = ledger.append(LedgerEntry(index=index, trajectory=0, step=index, "
        "reason='audit'))\n"
        "    print(workspace.write_ledger(ledger), flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    last = int((process.stdout.read().split() or ["1"])[-1])
    process.wait()
    assert RunWorkspace(tmp_path, "run-1").read_ledger(last).n_labels == last
