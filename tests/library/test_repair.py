"""Damage is named in a line with what it can be made again from, and the advice works."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactError, RunWorkspace
from onfly.calculators import load_calculator
from onfly.library import ModelLibrary, add_models, repair_model, verify_models
from onfly.schemas import FineTunedModelDoc
from onfly.settings import get_settings
from onfly.stores import DamagedStoreError, job_store
from onfly.stores.verify import verify_store

DATA = Path(__file__).parents[1] / "data/v0_1"
MODEL_ID = "CuAu-f716e6da3f4e"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "data/artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "data/store"))
    return get_settings()


@pytest.fixture
def stored(settings):
    return settings.STORE_DIR / "onfly"


def energy():
    atoms = AseAtomsAdaptor.get_atoms(
        ModelLibrary.from_settings().get(MODEL_ID).structure, msonable=False
    )
    atoms.calc = load_calculator(model_id=MODEL_ID)
    return atoms.get_potential_energy()


def garbage(path):
    path.write_bytes(b"this is no database " * 400)


def weights(settings):
    return sorted((settings.ARTIFACT_DIR / "runs/v0-1/ensembles").glob("*.safetensors"))


def one_line(text):
    return len(str(text).splitlines()) == 1


def test_what_is_sound_has_no_problems(settings):
    assert verify_store(job_store()) == []
    assert verify_models() == []
    assert repair_model(MODEL_ID) == []
    assert add_models() == []


@pytest.mark.parametrize("name", ["onfly_models", "onfly_labels", "onfly_runs"])
def test_a_collection_that_is_garbage_is_made_again(settings, stored, name):
    before = energy()
    garbage(stored / name)
    (problem,) = verify_store(job_store())
    assert problem.where == str(stored / name)
    assert "is made again" in problem.remedy
    with pytest.raises(DamagedStoreError, match=f"{name} is damaged.*move it away") as caught:
        ModelLibrary.from_settings()
    assert one_line(caught.value)
    # the advice, followed
    (stored / name).rename(stored.parent / name)
    assert energy() == before
    library = ModelLibrary.from_settings()
    assert library.labels_store.count() == 3
    assert library.runs_store.count() == 1
    assert verify_store(job_store()) == []


def test_outputs_that_are_garbage_leave_the_folders_of_the_runs(settings, stored):
    before = energy()
    for name in ("outputs", "onfly_models"):
        garbage(stored / name)
    problems = {Path(p.where).name: p for p in verify_store(job_store())}
    assert set(problems) == {"outputs", "onfly_models"}
    assert "add_models()" in problems["outputs"].remedy
    for name in problems:
        (stored / name).rename(stored.parent / name)
    assert add_models() == [MODEL_ID]
    assert energy() == before
    assert verify_store(job_store()) == []
    assert verify_models() == []


def test_pages_and_documents_that_are_damaged_are_found(settings, stored):
    path = stored / "onfly_labels"
    data = bytearray(path.read_bytes())
    data[-3000:] = b"\xff" * 3000
    path.write_bytes(bytes(data))
    found = verify_store(job_store())
    assert [p.where for p in found] == [str(path)]
    assert all(one_line(p) for p in found)


def test_a_document_that_cannot_be_decoded_is_found(settings, stored):
    path = stored / "onfly_labels"
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE documents SET doc = x'00112233' WHERE ROWID = 1")
    (problem,) = verify_store(job_store())
    assert "1 documents cannot be decoded" in problem.message
    with pytest.raises(DamagedStoreError, match="onfly_labels is damaged") as caught:
        ModelLibrary.from_settings(refresh=False).labels_store.query_one({"index": 99})
    assert one_line(caught.value)


@pytest.mark.parametrize("how", ["flipped", "truncated", "pickled", "gone"])
def test_damaged_files_come_from_the_store(settings, how):
    before = energy()
    path = weights(settings)[0]
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-5] ^= 1
    elif how == "truncated":
        del content[100:]
    else:
        content[:2] = b"\x80\x04"
    path.write_bytes(bytes(content))
    if how == "gone":
        path.unlink()
        assert verify_models() == [], "missing files are fetched"
    elif how != "truncated":  # a file of another size counts as missing
        (problem,) = verify_models()
        assert str(path) in problem.message
        assert "repair_model" in problem.remedy
        with pytest.raises(ArtifactError) as caught:
            energy()
        assert one_line(caught.value)
    assert repair_model(MODEL_ID) == [str(path)]
    assert energy() == before
    assert verify_models() == []


@pytest.mark.parametrize("how", ["flipped", "no gzip", "gone", "garbage"])
def test_damaged_blobs_come_from_the_files(settings, stored, how):
    before = energy()
    if how == "garbage":
        garbage(stored / "blobs")
        (problem,) = verify_store(job_store())
        assert problem.where == str(stored / "blobs")
        (stored / "blobs").rename(stored.parent / "blobs")
    else:
        (path,) = (stored / "blobs.files").rglob("*.gz")
        content = bytearray(path.read_bytes())
        content[len(content) // 2 if how == "flipped" else 0] ^= 255
        path.write_bytes(bytes(content))
        if how == "gone":
            path.unlink()
    (problem,) = verify_store(job_store())
    assert "repair_model" in problem.remedy
    (problem,) = verify_models()
    assert (problem.level, problem.where) == ("warning", f"model {MODEL_ID}")
    assert len(repair_model(MODEL_ID)) == 1
    assert verify_models() == []
    shutil.rmtree(settings.ARTIFACT_DIR)
    assert energy() == before, "the store alone is enough again"


def test_weights_that_are_nowhere_are_an_error(settings, stored):
    shutil.rmtree(stored / "blobs.files")
    weights(settings)[0].write_bytes(b"x")
    (problem,) = verify_models()
    assert problem.level == "error"
    assert "labels are reused" in problem.remedy
    with pytest.raises(ArtifactError, match="neither whole in"):
        repair_model(MODEL_ID)


def test_a_damaged_document_is_named(settings):
    library = ModelLibrary.from_settings()
    record = library.models_store.query_one({"model_id": MODEL_ID})
    library.models_store.update(record | {"threshold_ev": "small"}, key="model_id")
    (problem,) = verify_models()
    assert "its document is damaged" in problem.message
    library.models_store.remove_docs({"model_id": MODEL_ID})
    assert add_models(library) == [MODEL_ID]
    assert verify_models(library) == []


def test_a_foundation_model_that_changed_is_named(settings, tmp_path):
    path = tmp_path / "own.model"
    path.write_bytes(b"x")
    library = ModelLibrary.from_settings()
    record = library.models_store.query_one({"model_id": MODEL_ID})
    change = {"foundation_model": str(path), "foundation_sha256": "a" * 64}
    library.models_store.update(record | change, key="model_id")
    (problem,) = verify_models()
    assert "another file" in problem.message
    path.unlink()
    (problem,) = verify_models()
    assert "is missing" in problem.message


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "\udcff\udcfe",
        lambda text: text.replace('"threshold_ev": 0.3', '"threshold_ev": "small"'),
        lambda text: "[" * 100_000,
        lambda text: "null",
    ],
    ids=["half", "empty", "bytes", "type", "deep", "null"],
)
def test_a_damaged_json_file_is_named_in_one_line(settings, change):
    path = RunWorkspace(settings.ARTIFACT_DIR, "v0-1").folder / "model.json"
    path.write_text(change(path.read_text()), errors="surrogateescape")
    with pytest.raises(ArtifactError, match=r"model\.json is damaged") as caught:
        load_calculator(path=path)
    assert one_line(caught.value)
    assert "publish the run again" in str(caught.value)
    assert FineTunedModelDoc.__name__ not in str(caught.value) or "no " in str(caught.value)
