from __future__ import annotations

import numpy as np
import pytest

from onfly.report.data import find_setting, load_documents, load_run


def test_everything_is_read(finished_run):
    data = load_run(finished_run)
    assert data.problems == []
    assert data.run.run_id == "CaZrS3-demo"
    assert data.model.state == "ready"
    assert [label.index for label in data.labels] == list(range(len(data.labels)))
    assert len(data.judged_labels) == len(data.labels) - 1
    assert data.thermo["step"].tolist() == list(range(1, 3001))
    assert data.training[-1]["generation"] == len(data.training)
    assert len(data.last_frame) == 41


def test_steps_become_times(finished_run):
    data = load_run(finished_run)
    assert data.axis_label == "simulated time (ps)"
    # 1.5 fs a step, also before the first and behind the last logged step
    assert data.time_ps([0, 1000, 4000]) == pytest.approx([0, 1.5, 6.0])


def test_a_later_segment_wins(write_run):
    folder = write_run(n_steps=60)
    first = sorted((folder / "thermo").glob("*.csv"))[0]
    header, row = first.read_text().splitlines()[:2]
    cells = row.split(",")
    cells[3] = "999.0"
    (folder / "thermo" / "00099.csv").write_text(f"{header}\n{','.join(cells)}\n")
    data = load_run(folder)
    assert data.thermo["temperature"][0] == 999.0
    assert (np.diff(data.thermo["step"]) == 1).all()


def test_a_run_that_has_just_begun(write_run):
    folder = write_run(n_steps=20, phase="initial", state=None)
    for name in ("labels", "thermo", "training", "trajectory"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()
    data = load_run(folder)
    assert data.labels == []
    assert data.last_frame is None
    assert data.model is None
    assert not data.has_clock
    assert data.axis([3]).tolist() == [3]
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
    assert len(data.thermo["step"]) == len(whole.thermo["step"]) - 1
    assert len(data.labels) == len(whole.labels) - 1
    assert len(data.problems) == 1
    assert label.name in data.problems[0]


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="no state of a run"):
        load_documents(tmp_path)


def test_settings_are_found_at_any_depth():
    settings = {"a": {"stopping": {"min_audits": 7}}, "b": [{"time_step": 0.5}], "c": None}
    assert find_setting(settings, "min_audits") == 7
    assert find_setting(settings, "time_step") == 0.5
    assert find_setting(settings, "nothing") is None
