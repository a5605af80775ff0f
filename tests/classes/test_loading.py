from __future__ import annotations

import json

import pytest
import torch

from onfly.classes.library import ClassLibrary
from onfly.classes.names import ClassModelError
from onfly.potentials import check_foundation, describe_foundation, load_foundation
from onfly.potentials.foundation import fixed_source
from onfly.settings import get_settings
from onfly.testing.contracts import check_potential

from .conftest import filled_library, quick_update, write_alloy

ELEMENTS = ["Cu", "Au"]


def test_a_class_model_is_a_foundation_like_any_other(alloys):
    doc = quick_update(alloys).doc
    potential = load_foundation("class:alloys@1", elements=ELEMENTS)
    assert (potential.name, potential.family) == ("class:alloys@1", "toy")
    assert potential.sha256 == doc.weights_file.sha256
    toy = load_foundation("toy").parameters()
    moved = [not torch.equal(v, toy[k]) for k, v in potential.parameters().items()]
    assert all(moved)
    from onfly.schemas import to_atoms
    from onfly.testing.models import crystal

    check_potential(potential, to_atoms(crystal()))


def test_its_weights_cannot_be_changed_through_what_it_returns(alloys):
    quick_update(alloys)
    potential = load_foundation("class:alloys")
    potential.parameters()["readout.bias"].add_(1.0)
    again = potential.parameters()["readout.bias"]
    assert torch.equal(again, load_foundation("class:alloys").parameters()["readout.bias"])


def test_the_newest_is_taken_and_named(alloys):
    quick_update(alloys)
    write_alloy(("Pd", "Au"))
    quick_update(filled_library())
    assert fixed_source("class:alloys") == "class:alloys@2"
    assert fixed_source("class:alloys@1") == "class:alloys@1"
    first, second = (load_foundation(f"class:alloys@{v}").sha256 for v in (1, 2))
    assert first != second
    assert load_foundation("class:alloys").sha256 == second


def test_it_is_described_and_checked_without_being_loaded(alloys):
    quick_update(alloys)
    assert check_foundation("class:alloys", ELEMENTS) == []
    found = describe_foundation("class:alloys@1")
    assert (found.family, found.pickled, found.trusted) == ("class", False, True)
    assert "Cu" in (found.elements or ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class:oxides", r"no class model oxides: there is alloys"),
        ("class:alloys@4", r"no version 4; it has 1"),
        ("class:alloys@x", r"the version is a number"),
        ("class:", r"cannot name a class"),
    ],
)
def test_what_is_not_there_is_said_everywhere(alloys, name, message):
    quick_update(alloys)
    with pytest.raises(ClassModelError, match=message):
        load_foundation(name)
    (problem,) = check_foundation(name)
    with pytest.raises(ClassModelError, match=message):
        raise ClassModelError(problem)


def test_changed_weights_are_refused(alloys):
    quick_update(alloys)
    root = get_settings().ARTIFACT_DIR
    (path,) = (root / "classes/weights").iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ClassModelError, match="was changed"):
        load_foundation("class:alloys@1")
    assert "was changed" in check_foundation("class:alloys@1")[0]
    path.unlink()  # the remedy that the message names
    assert load_foundation("class:alloys@1").sha256 == path.stem


def test_a_pickle_in_the_place_of_the_weights_is_not_read(alloys):
    doc = quick_update(alloys).doc
    root = get_settings().ARTIFACT_DIR
    path = root / doc.weights_file.path
    torch.save({"a": torch.zeros(1)}, path)
    content = doc.model_dump(mode="json")
    import hashlib

    data = path.read_bytes()
    content["weights_file"] |= {"sha256": hashlib.sha256(data).hexdigest(), "nbytes": len(data)}
    (root / "classes/alloys/1.json").write_text(json.dumps(content))
    with pytest.raises(ClassModelError, match="pickled file"):
        load_foundation("class:alloys@1")


def test_another_machine_takes_it_from_the_store(alloys, tmp_path, monkeypatch):
    doc = quick_update(alloys).doc
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    assert load_foundation("class:alloys").sha256 == doc.weights_file.sha256
    # now it is here, and the store is no longer needed
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "empty"))
    assert load_foundation("class:alloys@1").sha256 == doc.weights_file.sha256


def test_a_shared_artifact_directory_needs_no_store(alloys, tmp_path, monkeypatch):
    quick_update(alloys)
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "empty"))
    assert load_foundation("class:alloys").name == "class:alloys"


def test_a_store_that_does_not_answer_is_named(alloys, tmp_path, monkeypatch):
    quick_update(alloys)
    spec = {
        "docs_store": {
            "type": "MongoStore",
            "database": "x",
            "collection_name": "y",
            "host": "127.0.0.1",
            "port": 1,
            "mongoclient_kwargs": {"serverSelectionTimeoutMS": 50},
        },
        "additional_stores": {
            "data": {
                "type": "GridFSStore",
                "database": "x",
                "collection_name": "z",
                "host": "127.0.0.1",
                "port": 1,
                "mongoclient_kwargs": {"serverSelectionTimeoutMS": 50},
            }
        },
    }
    monkeypatch.setenv("ONFLY_JOB_STORE", json.dumps(spec))
    assert load_foundation("class:alloys@1").sha256  # the files are here
    with pytest.raises(ClassModelError, match="does not answer"):
        load_foundation("class:alloys")
    assert "does not answer" in check_foundation("class:alloys")[0]


def test_a_list_has_all_versions_and_a_damaged_one_hides_no_other(alloys, caplog):
    quick_update(alloys)
    quick_update(alloys, "others")
    library = ClassLibrary.from_settings()
    library.classes_store.update({"class_id": "bad@1", "name": "bad"}, key="class_id")
    assert [doc.class_id for doc in library.documents()] == ["alloys@1", "others@1"]
    assert "bad@1" in caplog.text


def test_the_mongo_server_keeps_it_as_well(alloys, mongo_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_JOB_STORE", json.dumps(mongo_server.job_store_spec()))
    library = filled_library()
    doc = quick_update(library).doc
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    assert load_foundation("class:alloys").sha256 == doc.weights_file.sha256


def test_a_document_cannot_say_that_a_pickle_is_trusted(alloys, tmp_path):
    """The foundation below is a pickle: only whoever loads it may trust it."""
    pytest.importorskip("mace")
    from onfly.potentials.trust import PickleRefusedError
    from onfly.testing.models import random_mace

    path = random_mace(tmp_path / "random.model")
    doc = quick_update(alloys).doc
    content = doc.model_dump(mode="json")
    content["foundation"] = {
        "family": "mace",
        "source": str(path),
        "options": {"trust_pickle": True},
    }
    (get_settings().ARTIFACT_DIR / "classes/alloys/1.json").write_text(json.dumps(content))
    with pytest.raises(PickleRefusedError):
        load_foundation("class:alloys@1")
    assert any("pickle" in problem for problem in check_foundation("class:alloys@1"))
    trusted = {"source": "class:alloys@1", "options": {"trust_pickle": True}}
    assert check_foundation(trusted) == []
    with pytest.raises(ClassModelError, match="not those of the network"):
        load_foundation(trusted)
