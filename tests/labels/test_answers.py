"""A label is on disk before its job ends, and a job that is run again finds it there."""

from __future__ import annotations

import numpy as np
import pytest
from jobflow import Flow, Response

from onfly.artifacts.lock import RunLockedError
from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.answers import LabelRequest, answer_lock, keep_answer, kept_answer
from onfly.labels.ase import AseLabelMaker
from onfly.labels.failures import failed_label
from onfly.labels.store import LabelStore
from onfly.settings import get_settings

REQUEST = LabelRequest("r", "000-00000003-audit", energy_key="e_fr_energy")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.delenv("ONFLY_CONFIG_FILE", raising=False)
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, "r")
    workspace.folder.mkdir(parents=True)
    return workspace


def emt(structure):
    return AseLabelMaker(calculator="ase.calculators.emt.EMT").run(structure)


def test_a_label_is_kept_and_found(folder, copper):
    assert kept_answer(REQUEST) is None
    output = emt(copper)
    key = keep_answer(REQUEST, copper, Response(output=output))
    assert key == kept_answer(REQUEST)
    label = LabelStore(folder.store.root / "labels").get(key)
    assert label.energy == output.output.energy
    # another attempt asks for another label
    other = LabelRequest("r", REQUEST.key, attempt=1)
    assert kept_answer(other) is None
    # a damaged one is no answer
    (path,) = (folder.store.root / "labels" / "objects").glob("*/*.json")
    path.write_text("{}")
    assert kept_answer(REQUEST) is None


def test_what_the_round_would_refuse_is_left_to_it(folder, copper):
    output = emt(copper)
    assert keep_answer(REQUEST, copper, failed_label(ValueError("no licence"))) is None
    assert keep_answer(REQUEST, copper, Response(replace=Flow([]))) is None
    small = LabelRequest("r", REQUEST.key, max_force=1e-6)
    assert keep_answer(small, copper, output) is None
    other = LabelRequest("r", REQUEST.key, input_hash="0" * 64)
    assert keep_answer(other, copper, output) is None
    output.output.forces = (np.array(output.output.forces) + 0.5).tolist()
    assert keep_answer(REQUEST, copper, output) is None
    assert kept_answer(REQUEST) is None
    assert list(LabelStore(folder.store.root / "labels").keys()) == []


def test_a_machine_that_does_not_see_the_run_writes_nothing(folder, copper):
    elsewhere = LabelRequest("another", REQUEST.key)
    with answer_lock("another", REQUEST.key):
        assert keep_answer(elsewhere, copper, emt(copper)) is None
    assert not (folder.folder.parent / "another").exists()


def test_a_second_worker_is_refused(folder):
    with answer_lock("r", REQUEST.key):
        with pytest.raises(RunLockedError, match="label 000-00000003-audit of run r is being"):
            answer_lock("r", REQUEST.key).__enter__()
        with answer_lock("r", "000-00000004-audit"):
            pass
    with answer_lock("r", REQUEST.key):
        pass
