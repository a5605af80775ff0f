from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from tests.report.conftest import forget

from onfly.artifacts import ArtifactError, RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.report.data import load_documents, load_run
from onfly.report.tables import tiles


def test_everything_is_read(finished_run):
    data = load_run(finished_run)
    assert data.problems == ()
    assert data.identity.run_id == "CaZrS3-demo"
    assert data.identity.n_atoms == len(data.structure) == 41
    assert data.verdict.state == "ready"
    assert data.verdict.n_audits == len(data.closing) == 31
    assert data.n_within == sum(abs(x.energy_error) <= data.threshold for x in data.audits)
    assert (data.counts.n_labels, data.counts.n_waits) == (len(data.labels), 17)
    assert [label.index for label in data.labels] == list(range(len(data.labels)))
    assert len(data.judged) == len(data.labels) - 1
    (trajectory,) = data.trajectories
    assert trajectory.thermo["step"].tolist() == list(range(1, 3001))
    assert [stage.temperature for stage in data.stages] == ["300 K", "800 K"]
    assert len(trajectory.last_frame) == 41
    assert data.trainings[-1].generation == len(data.trainings) + 1
    assert data.threshold == pytest.approx(0.5 * units.kcal / units.mol)
    assert (data.audit_interval, data.max_probability, data.required_coverage) == (100, 0.05, 0.9)


def test_steps_that_were_taken_twice_are_named(finished_run):
    data = load_run(finished_run)
    (trajectory,) = data.trajectories
    assert not any("taken twice" in tile["more"] for tile in tiles(data))
    twice = replace(data, trajectories=(replace(trajectory, n_redone=251),))
    assert tiles(twice)[0]["more"] == "3 000 MD steps, 251 of them taken twice"


def test_labels_know_their_time_and_who_learned_them(finished_run):
    data = load_run(finished_run)
    label = next(x for x in data.labels if x.reason == "uncertain")
    assert label.time_fs == pytest.approx(1.5 * label.step)
    learned = next(t for t in data.trainings if t.n_labels > label.index)
    assert label.learned_generation == learned.generation
    assert label.generation is None or label.generation < learned.generation
    assert label.predicted_mean - label.energy == pytest.approx(label.energy_error)


def test_steps_become_times(finished_run):
    data = load_run(finished_run)
    assert data.axis_label == "simulated time (ps)"
    # 1.5 fs a step, also before the first and behind the last logged step
    times = data.trajectories[0].time_fs([0, 1000, 4000])
    assert times == pytest.approx([0, 1500, 6000])
    assert data.simulated_fs == pytest.approx(4500)
    assert data.stage_marks() == pytest.approx([2.2515])


def test_calibration_is_replayed_as_the_run_did_it(finished_run):
    data = load_run(finished_run)
    run, _ = load_documents(finished_run)
    last = data.calibration[-1]
    assert last.label is None
    assert last.a == pytest.approx(
        run.posterior.calibration.shape + run.posterior.calibration.n / 2
    )
    assert last.b == pytest.approx(
        run.posterior.calibration.rate + run.posterior.calibration.sum_z2 / 2
    )
    assert [s.label for s in data.calibration[:-1]] == [label.index for label in data.judged]
    state = Calibration(shape=last.a, rate=last.b)
    assert last.scale_factor == pytest.approx(state.scale_factor)
    assert last.dof == pytest.approx(state.dof)


def test_a_later_segment_wins(write_run):
    folder = write_run(n_steps=60)
    first = sorted((folder / "trajectories/000/thermo").glob("*.csv"))[0]
    header, row = first.read_text().splitlines()[:2]
    cells = row.split(",")
    cells[3] = "999.0"
    (folder / "trajectories/000/thermo/00099.csv").write_text(f"{header}\n{','.join(cells)}\n")
    data = load_run(folder)
    assert data.trajectories[0].thermo["temperature"][0] == 999.0
    assert (np.diff(data.trajectories[0].thermo["step"]) == 1).all()


def test_a_run_that_has_just_begun(write_run, tmp_path):
    folder = write_run(n_steps=20, phase="start", audits=False)
    forget(folder, "trajectories", "training", "ledger.jsonl")
    workspace = RunWorkspace(tmp_path, folder.name)
    workspace.write_state(workspace.read_state().evolve(n_records=0))
    data = load_run(folder)
    assert data.labels == ()
    assert data.trajectories[0].last_frame is None
    assert data.structure is None
    assert not data.has_clock
    assert np.isnan(data.trajectories[0].time_fs(3))
    assert data.axis_label == "MD step"


def test_half_written_files_are_left_out_and_named(write_run):
    folder = write_run(n_steps=60)
    whole = load_run(folder)
    last = sorted((folder / "trajectories/000/thermo").glob("*.csv"))[-1]
    last.write_text(last.read_text()[:-40])
    label = next((folder.parent.parent / "labels" / "objects").rglob("*.json"))
    label.write_text(label.read_text()[:100])
    frames = sorted((folder / "trajectories/000/trajectory").glob("*.extxyz"))[-1]
    frames.write_text(frames.read_text()[:-50])
    data = load_run(folder)
    assert data.trajectories[0].thermo["step"].size == whole.trajectories[0].thermo["step"].size - 1
    assert len(data.labels) == len(whole.labels)
    assert sum(label.structure is None for label in data.labels) == 1
    assert len(data.problems) == 1
    assert "label" in data.problems[0]


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        load_run(tmp_path)
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_documents(folder)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="labels are in the artifact directory"):
        load_documents(tmp_path)


def test_a_run_of_version_0_1_is_told_in_one_message():
    folder = Path(__file__).parent.parent / "data/v0_1/artifacts/runs/v0-1"
    with pytest.raises(ArtifactError, match=r"written by version 0\.1") as caught:
        load_run(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_lost_ledger_is_told(write_run):
    folder = write_run(n_steps=60)
    (folder / "ledger.jsonl").unlink()
    data = load_run(folder)
    assert data.labels == ()
    assert "cut or removed" in data.problems[0]


def test_labels_before_the_run_lie_left_of_zero(write_run):
    data = load_run(write_run(n_steps=60))
    labels = (replace(data.labels[0], step=-50), *data.labels[1:])
    low, high = replace(data, labels=labels).axis_range
    assert low == pytest.approx(-0.075)
    assert high > 0
    limits = replace(data, labels=labels).axis_limits
    assert limits[0] < low


def test_an_audit_that_could_not_be_computed_counts_as_failed(write_run):
    folder = write_run(n_steps=60)
    path = folder / "ledger.jsonl"
    lines = path.read_text().splitlines()
    entry = json.loads(lines[-1])
    assert entry["reason"] == "closing"
    gone = {"label": None, "errors": {}, "error": None}
    path.write_text("\n".join([*lines[:-1], json.dumps(entry | gone)]) + "\n")
    (folder / "model.json").unlink()
    data = load_run(folder)
    assert data.n_unjudged == 1
    assert data.audit_outcomes[-1] is False
    assert data.verdict.n_failed == 1
    assert data.verdict.state == "not accurate enough"
