"""A run's record is read as strictly as its state, though the state is not validated."""

from __future__ import annotations

import shutil

import pytest

from onfly.cli.records import RecordError, run_folders, run_record
from onfly.testing.models import toy_run, write_toy_run


@pytest.fixture
def folder(tmp_path):
    write_toy_run(tmp_path, toy_run("r"))
    return tmp_path / "runs" / "r"


@pytest.mark.parametrize("text", ["{", "[1]", '{"md_step": "x", "phase": "explore"}'])
def test_a_damaged_progress_file_does_not_matter(folder, text):
    expected = run_record(folder)
    (folder / "progress.json").write_text(text)
    assert run_record(folder) == expected


def test_a_state_that_was_changed_by_hand_is_none(folder):
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"n_labels": 0', '"n_labels": 9', 1))
    with pytest.raises(RecordError, match="changed after it was written"):
        run_record(folder)


def test_a_copy_made_by_hand_is_left_out(folder, caplog):
    shutil.copytree(folder, folder.with_name("copy of r"))
    assert run_folders(folder.parents[1]) == [folder]
    assert "copy of r" in caplog.text
