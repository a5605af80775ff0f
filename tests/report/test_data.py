from __future__ import annotations

import numpy as np
import pytest
from ase import units

from onfly.bayes.calibration import Calibration
from onfly.report.data import load_documents, load_run


def test_everything_is_read(finished_run):
    data = load_run(finished_run)
    assert data.problems == ()
    assert data.identity.run_id == "CaZrS3-demo"
    assert data.identity.n_atoms == len(data.structure) == 41
    assert data.verdict.state == "ready"
    assert data.verdict.n_audits == len(data.audits)
    assert [label.index for label in data.labels] == list(range(len(data.labels)))
    assert len(data.judged) == len(data.labels) - 1
    (trajectory,) = data.trajectories
    assert trajectory.thermo["step"].tolist() == list(range(1, 3001))
    assert [stage.temperature for stage in trajectory.stages] == ["300 K", "800 K"]
    assert len(trajectory.last_frame) == 41
    assert data.trainings[-1].generation == len(data.trainings)
    assert data.threshold == pytest.approx(0.5 * units.kcal / units.mol)
    assert (data.audit_interval, data.max_probability, data.required_coverage) == (100, 0.05, 0.9)


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
    assert last.a == pytest.approx(run.calibration.shape + run.calibration.n / 2)
    assert last.b == pytest.approx(run.calibration.rate + run.calibration.sum_z2 / 2)
    assert [s.label for s in data.calibration[:-1]] == [label.index for label in data.judged]
    state = Calibration(shape=last.a, rate=last.b)
    assert last.scale_factor == pytest.approx(state.scale_factor)
    assert last.dof == pytest.approx(state.dof)


def test_a_later_segment_wins(write_run):
    folder = write_run(n_steps=60)
    first = sorted((folder / "thermo").glob("*.csv"))[0]
    header, row = first.read_text().splitlines()[:2]
    cells = row.split(",")
    cells[3] = "999.0"
    (folder / "thermo" / "00099.csv").write_text(f"{header}\n{','.join(cells)}\n")
    data = load_run(folder)
    assert data.trajectories[0].thermo["temperature"][0] == 999.0
    assert (np.diff(data.trajectories[0].thermo["step"]) == 1).all()


def test_a_run_that_has_just_begun(write_run):
    folder = write_run(n_steps=20, phase="initial", state=None)
    for name in ("labels", "thermo", "training", "trajectory"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()
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
    last = sorted((folder / "thermo").glob("*.csv"))[-1]
    last.write_text(last.read_text()[:-40])
    label = sorted((folder / "labels").glob("*.json"))[-1]
    label.write_text(label.read_text()[:100])
    frames = sorted((folder / "trajectory").glob("*.extxyz"))[-1]
    frames.write_text(frames.read_text()[:-50])
    (folder / "labels" / ".00099.json.tmp.json").write_text("{")
    data = load_run(folder)
    assert data.trajectories[0].thermo["step"].size == whole.trajectories[0].thermo["step"].size - 1
    assert len(data.labels) == len(whole.labels) - 1
    assert len(data.problems) == 1
    assert label.name in data.problems[0]


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="no state of a run"):
        load_documents(tmp_path)
