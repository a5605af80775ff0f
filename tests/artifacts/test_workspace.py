from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from onfly.artifacts import ArtifactError, RunLockedError, RunWorkspace, list_runs
from onfly.bayes.posterior import PosteriorState
from onfly.schemas import EnsembleDoc


@pytest.fixture
def workspace(tmp_path):
    return RunWorkspace(tmp_path, "run-1")


@pytest.mark.parametrize("run_id", ["", "..", "a/b", ".hidden", "a b"])
def test_run_id_must_name_a_folder(tmp_path, run_id):
    with pytest.raises(ValueError, match="cannot name a folder"):
        RunWorkspace(tmp_path, run_id)


@pytest.mark.parametrize("molecule", [False, True])
def test_labels_come_back_in_order_and_exact(workspace, make_label, molecule):
    labels = [make_label(i, molecule=molecule) for i in range(12)]
    for label in reversed(labels):
        workspace.append_label(label)
    read = workspace.labels()
    assert workspace.n_labels() == 12
    assert [label.index for label in read] == list(range(12))
    for before, after in zip(labels, read, strict=True):
        assert after.energy == before.energy
        assert after.forces == before.forces
        assert after.structure_hash == before.structure_hash
        np.testing.assert_array_equal(after.structure.cart_coords, before.structure.cart_coords)
        assert type(after.structure) is type(before.structure)


def test_a_label_is_written_once(workspace, make_label):
    first = make_label(0, elapsed=1.0)
    workspace.append_label(first)
    workspace.append_label(first)
    workspace.append_label(make_label(0, elapsed=2.0, task_uuid="again"))
    assert workspace.labels()[0].elapsed == 1.0
    with pytest.raises(ArtifactError, match="another label 0: energy differ"):
        workspace.append_label(make_label(0, energy=7.0))
    assert workspace.labels()[0].energy == first.energy


def test_label_of_another_run_or_without_index_is_refused(workspace, make_label):
    with pytest.raises(ValueError, match="run_id must be set"):
        workspace.append_label(make_label(0, run_id="other"))
    with pytest.raises(ValueError, match="index"):
        workspace.append_label(make_label(0).model_copy(update={"index": None}))


def test_gap_in_the_labels_is_an_error(workspace, make_label):
    for index in (0, 2):
        workspace.append_label(make_label(index))
    with pytest.raises(ArtifactError, match=r"00001\.json is missing"):
        workspace.labels()


def test_state_is_replaced_and_listed(workspace, make_run, tmp_path):
    assert list_runs(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="no run 'run-1'"):
        workspace.read_run()
    workspace.write_run(make_run(md_step=1))
    workspace.write_run(make_run(md_step=2))
    assert workspace.read_run().md_step == 2
    assert [w.run_id for w in list_runs(tmp_path)] == ["run-1"]
    with pytest.raises(ValueError, match="given to the folder"):
        workspace.write_run(make_run(run_id="other"))


def test_training_records_and_paths(workspace):
    workspace.write_training(3, {"log_likelihood": [1.0, np.float64(2.0)], "n": np.int64(4)})
    workspace.write_training(10, {"n": 5})
    assert workspace.read_training(3) == {"log_likelihood": [1.0, 2.0], "n": 4}
    assert [t["n"] for t in workspace.trainings()] == [4, 5]
    workspace.thermo_path(3).write_text("x")
    workspace.trajectory_path(3).write_text("x")
    assert [p.name for p in workspace.thermo_files()] == ["00003.csv"]
    assert [p.name for p in workspace.trajectory_files()] == ["00003.extxyz"]
    for generation in (1, 2):
        (workspace.update_cache(generation) / "chain").write_text("x")
    workspace.clear_cache(before=2)
    assert not (workspace.folder / "cache/00001").exists()
    assert (workspace.folder / "cache/00002/chain").exists()


def _state(seed):
    generator = torch.Generator().manual_seed(seed)
    members = tuple({"w": torch.randn(3, 2, generator=generator)} for _ in range(2))
    return PosteriorState(
        kind="sghmc", members=members, extra={"s": torch.randn(2, generator=generator)}
    )


def test_ensembles_round_trip_and_retention(workspace, make_label):
    docs = [workspace.save_ensemble(_state(seed), seed, n_labels=seed) for seed in range(4)]
    states = [workspace.save_md_state({"step": np.asarray(i)}) for i in range(3)]
    workspace.append_label(make_label(0))
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
    assert workspace.n_labels() == 1
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


def test_acknowledged_labels_survive_a_kill(tmp_path, make_label):
    """A process that is killed while it writes loses none of the labels it reported."""
    (tmp_path / "label.json").write_text(make_label(0).model_dump_json())
    code = (
        "from onfly.artifacts import RunWorkspace\nfrom onfly.schemas import LabelDoc\n"
        f"label = LabelDoc.model_validate_json(open({str(tmp_path / 'label.json')!r}).read())\n"
        f"workspace = RunWorkspace({str(tmp_path)!r}, 'run-1')\n"
        "for index in range(100000):\n"
        "    workspace.append_label(label.model_copy(update={'index': index}))\n"
        "    print(index, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    last = int(process.stdout.read().split()[-1])
    process.wait()
    labels = RunWorkspace(tmp_path, "run-1").labels()
    assert len(labels) in (last + 1, last + 2)
