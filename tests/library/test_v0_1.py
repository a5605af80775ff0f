"""What version 0.1 wrote can be read, and gives the energies that it gave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactError, RunWorkspace
from onfly.calculators import load_calculator
from onfly.library import ModelLibrary
from onfly.library.export import read_labels
from onfly.library.summary import model_summary
from onfly.settings import get_settings

DATA = Path(__file__).parents[1] / "data/v0_1"
EXPECTED = json.loads((DATA / "expected.json").read_text())
MODEL_ID = EXPECTED["model_id"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A copy of the data: a store is written to when it is opened."""
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "data/artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "data/store"))
    return get_settings()


def check(calculator, structure):
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = calculator
    for record in EXPECTED["configurations"]:
        atoms.positions = record["positions"]
        assert atoms.get_potential_energy() == pytest.approx(record["energy"], abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), record["forces"], atol=1e-9)
        np.testing.assert_allclose(atoms.get_stress(), record["stress"], atol=1e-9)
        std = calculator.get_property("energy_std", atoms)
        assert std == pytest.approx(record["energy_std"], rel=1e-6)
        assert calculator.probability() == pytest.approx(record["probability"], rel=1e-6)


def test_the_model_by_its_id(settings):
    library = ModelLibrary.from_settings(settings)
    check(load_calculator(model_id=MODEL_ID), library.get(MODEL_ID).structure)


def test_the_model_from_the_folder_of_the_run(settings):
    folder = RunWorkspace(settings.ARTIFACT_DIR, "v0-1").folder
    structure = ModelLibrary.from_settings(settings).get(MODEL_ID).structure
    check(load_calculator(path=folder), structure)
    check(load_calculator(path=folder / "model.json"), structure)
    # version 0.1 can finish a run of its own, this one cannot
    (folder / "model.json").unlink()
    with pytest.raises(ArtifactError, match=r"run\.json"):
        load_calculator(path=folder)


def test_the_model_with_the_weights_of_the_store(settings):
    shutil.rmtree(settings.ARTIFACT_DIR)
    library = ModelLibrary.from_settings(settings)
    check(library.calculator(MODEL_ID), library.get(MODEL_ID).structure)


def test_states_have_their_present_words(settings):
    library = ModelLibrary.from_settings(settings)
    model = library.get(MODEL_ID)
    assert EXPECTED["state"] == "unproven"
    assert model.state == "needs more audits"
    assert model.doc_version == "0.1"
    # queries find it by the present word and by that of 0.1
    for state in ("needs more audits", "unproven", ["ready", "needs more audits"]):
        assert [m.model_id for m in library.query(state=state)] == [MODEL_ID]
    assert library.query(state="ready") == []
    assert library.latest("CuAu").model_id == MODEL_ID


def test_its_summary_claims_no_proof(settings):
    summary = model_summary(ModelLibrary.from_settings(settings).get(MODEL_ID))
    assert json.loads(json.dumps(summary)) == summary
    assert {name: summary[name] for name in ("n_labels", "n_audits", "n_audits_within")} == {
        name: EXPECTED[name] for name in ("n_labels", "n_audits", "n_audits_within")
    }
    assert summary["coverage_proven"] is None
    assert summary["confidence"] is None
    assert summary["n_waits"] is None
    assert summary["state"] == "needs more audits"


def test_runs_and_labels_of_the_store(settings):
    library = ModelLibrary.from_settings(settings)
    labels = read_labels(library.labels_store, {"run_id": "v0-1"})
    assert [label.reason for label in labels] == ["initial", "audit", "audit"]
    assert library.runs_store.query_one({"run_id": "v0-1"})["model_id"] == MODEL_ID
    # the outputs are still what the collections are made from
    for name in ("onfly_models", "onfly_labels", "onfly_runs"):
        (settings.STORE_DIR / "onfly" / name).unlink()
    again = ModelLibrary.from_settings(settings)
    assert [m.model_id for m in again.query()] == [MODEL_ID]
    assert read_labels(again.labels_store) == labels
