from __future__ import annotations

import base64
import pickle
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactError, RunWorkspace
from onfly.artifacts.blobs import DocumentTooLargeError
from onfly.library import ModelLibrary, ModelMismatchError, ModelNotFoundError
from onfly.settings import get_settings
from onfly.stores import job_store
from onfly.testing.models import crystal, toy_label, toy_model, toy_run, water, write_toy_run


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.mongo)])
def settings(request):
    """The library on the embedded store and on a real server."""
    if request.param == "embedded":
        return get_settings()
    return get_settings(JOB_STORE=request.getfixturevalue("mongo_server").job_store_spec())


@pytest.fixture
def library(settings):
    return ModelLibrary.from_settings(settings)


@pytest.fixture
def root():
    return get_settings().ARTIFACT_DIR


def _ids(models):
    return [model.model_id for model in models]


@pytest.fixture
def filled(library, root):
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for number, (name, structure, fields) in enumerate(
        [
            ("old", crystal(), {}),
            ("new", crystal(), {"threshold_ev": 0.2, "level_of_theory": "SCAN"}),
            ("bad", crystal(), {"state": "unproven", "coverage": 0.6}),
            ("water", water(), {"campaign": "wet", "temperature_range": (300.0, 300.0)}),
            ("silver", crystal("Cu", "Ag"), {"state": "stopped", "foundation_model": "toy-1"}),
        ]
    ):
        created = day + timedelta(days=number)
        library.publish(toy_model(root, name, structure, created_at=created, **fields))
    return library


def test_queries_newest_first(filled):
    assert _ids(filled.query()) == ["silver", "water", "bad", "new", "old"]
    assert _ids(filled.query(formula="AuCu")) == ["bad", "new", "old"]
    assert _ids(filled.query(formula="Cu2Au2", limit=2)) == ["bad", "new"]
    assert _ids(filled.query(chemsys="Cu-Ag")) == ["silver"]
    assert _ids(filled.query(elements=["Cu"])) == ["silver", "bad", "new", "old"]
    assert _ids(filled.query(elements=["O", "H"])) == ["water"]
    assert _ids(filled.query(foundation_model="toy-1")) == ["silver"]
    assert _ids(filled.query(level_of_theory="SCAN")) == ["new"]
    assert _ids(filled.query(threshold_ev=0.15, formula="CuAu")) == ["bad", "old"]
    assert _ids(filled.query(threshold_ev=(0.15, None))) == ["new"]
    assert _ids(filled.query(threshold_ev=(0.15, 0.19))) == []
    assert _ids(filled.query(temperature=300, formula="H2O")) == ["water"]
    assert _ids(filled.query(temperature=500, formula="H2O")) == []
    assert _ids(filled.query(temperature=(300, 800), formula="CuAu")) == ["bad", "new", "old"]
    assert _ids(filled.query(temperature=(300, 801), formula="CuAu")) == []
    assert _ids(filled.query(min_coverage=0.9, formula="CuAu")) == ["new", "old"]
    assert _ids(filled.query(campaign="wet")) == ["water"]
    assert _ids(filled.query(state="ready")) == ["water", "new", "old"]
    assert _ids(filled.query(state=["unproven", "stopped"])) == ["silver", "bad"]
    assert _ids(filled.query(n_labels={"$gt": 4}, formula_anonymous="AB2")) == ["water"]


@pytest.mark.parametrize(
    "criteria", [{"formula": "Xx3"}, {"chemsys": "Cu-Qq"}, {"elements": ["Copper"]}]
)
def test_misspelt_chemistry_is_an_error(library, criteria):
    with pytest.raises(ValueError, match="is not a chemical"):
        library.query(**criteria)


def test_documents_come_back_whole(filled, root):
    doc = filled.get("old")
    before = toy_model(root, "old")
    assert doc.weights is None
    assert doc.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert doc.model_dump(exclude={"weights"}) == before.model_dump(exclude={"weights"})


def test_latest_prefers_proven_models_and_refuses_what_does_not_fit(filled):
    assert filled.latest("CuAu").model_id == "new"
    assert filled.latest("CuAu", level_of_theory="PBE").model_id == "old"
    assert filled.latest("CuAu", state="unproven").model_id == "bad"
    with pytest.raises(ModelMismatchError, match="fine-tuned at 300 to 800 K, not 1500 K"):
        filled.latest("CuAu", temperature=1500)
    assert filled.latest("CuAu", temperature=1500, allow_mismatch=True).model_id == "new"
    with pytest.raises(ModelMismatchError, match="its labels are SCAN, not HSE"):
        filled.latest("CuAu", level_of_theory="HSE")
    with pytest.raises(ModelNotFoundError, match=r"there is silver \(stopped\)"):
        filled.latest("CuAg")
    with pytest.raises(ModelNotFoundError, match="fine-tune one"):
        filled.latest("NaCl")


def test_calculator_checks_the_task(filled):
    for task, words in (
        ({"structure": crystal("Cu", "Ag")}, "fine-tuned on CuAu, not on CuAg"),
        ({"structure": "H2O"}, "not on H2O"),
        ({"level_of_theory": "HSE"}, "its labels are PBE, not HSE"),
        ({"temperature": [300, 900]}, "300 to 800 K, not 300 to 900 K"),
    ):
        with pytest.raises(ModelMismatchError, match=words):
            filled.calculator("old", **task)
        assert filled.calculator("old", allow_mismatch=True, **task)
    atoms = AseAtomsAdaptor.get_atoms(crystal() * (2, 1, 1), msonable=False)
    atoms.calc = filled.calculator(
        "old", structure=atoms, level_of_theory="PBE", temperature=[300, 800]
    )
    assert np.isfinite(atoms.get_potential_energy())


def _energy(library):
    atoms = AseAtomsAdaptor.get_atoms(crystal(), msonable=False)
    atoms.calc = library.calculator("m1")
    return atoms.get_potential_energy()


def test_a_machine_without_the_files_takes_the_weights_from_the_store(library, root, settings):
    library.publish(toy_model(root))
    here = _energy(library)
    shutil.rmtree(root)
    elsewhere = ModelLibrary.from_settings(
        settings.model_copy(update={"ARTIFACT_DIR": root.parent / "elsewhere"})
    )
    assert _energy(elsewhere) == here
    files = list((root.parent / "elsewhere").rglob("*.safetensors"))
    assert len(files) == 3
    # a file that is damaged on this machine is refused, not used
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="was changed"):
        _energy(elsewhere)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda blobs: blobs[0].update(chunks=blobs[1]["chunks"]), "were changed in the store"),
        (lambda blobs: blobs.pop(), "not those of the model"),
        (
            lambda blobs: blobs[0].update(
                chunks=[base64.b64encode(pickle.dumps({"w": 1})).decode()]
            ),
            "pickled",
        ),
    ],
    ids=["tampered", "incomplete", "pickled"],
)
def test_tampered_weights_are_refused(library, root, change, words):
    doc = toy_model(root)
    library.publish(doc)
    blobs = [blob.model_dump() for blob in doc.weights]
    change(blobs)
    library.data_store.update(
        {"blob_uuid": "onfly-m1", "data": blobs, "job_uuid": "x", "job_index": 1}, key="blob_uuid"
    )
    shutil.rmtree(root)
    with pytest.raises(ArtifactError, match=words):
        library.calculator("m1")
    assert not list(root.rglob("*.safetensors")) or words != "not those of the model"


def test_missing_weights_are_named(library, root):
    library.publish(toy_model(root))
    library.data_store.remove_docs({"blob_uuid": "onfly-m1"})
    assert np.isfinite(_energy(library)), "the files are still there"
    shutil.rmtree(root)
    with pytest.raises(ArtifactError, match="neither in"):
        library.calculator("m1")


def test_publishing_checks_weights_and_size(library, root, settings):
    doc = toy_model(root)
    with pytest.raises(ValueError, match="no weights to publish"):
        library.publish(doc.model_copy(update={"weights": None}))
    small = ModelLibrary.from_settings(settings.model_copy(update={"MAX_DOC_MB": 0.001}))
    with pytest.raises(DocumentTooLargeError, match=r"model m1 has .* MB"):
        small.publish(doc)
    assert library.query() == []
    library.publish(doc)
    library.publish(doc.model_copy(update={"n_labels": 9}))
    assert [m.n_labels for m in library.query()] == [9]


def test_runs_and_labels_are_added_from_their_folders(library, root):
    for name in ("a", "b"):
        labels = [toy_label(index, name) for index in range(3)]
        write_toy_run(root, toy_run(name, campaign="c", round=1), labels)
    assert library.add_runs() == 6
    assert library.add_runs() == 0
    labels = [toy_label(index, "b") for index in range(4)]
    write_toy_run(root, toy_run("b", campaign="c", round=7), labels)
    assert library.add_run(RunWorkspace(root, "b")) == 1
    assert library.labels_store.count({"campaign": "c"}) == 7
    runs = {run["run_id"]: run["round"] for run in library.runs_store.query({"campaign": "c"})}
    assert runs == {"a": 1, "b": 7}


def test_library_and_jobs_share_one_place(library, settings, root):
    library.publish(toy_model(root))
    store = job_store(settings)
    store.connect()
    blob = store.additional_stores["data"].query_one({"blob_uuid": "onfly-m1"}, ["blob_uuid"])
    assert blob is not None
    assert store.count() == 0
