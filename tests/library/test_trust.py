"""A document or a folder never leads to an unpickling, unless the user says so."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from pymatgen.io.ase import AseAtomsAdaptor
from safetensors.torch import save_file

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.calculators import UntrustedFileError, load_calculator
from onfly.library import ModelLibrary
from onfly.library.export import export_model
from onfly.library.trust import runs_code
from onfly.settings import get_settings
from onfly.testing.models import crystal, toy_model


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def crater(tmp_path):
    return tmp_path / "crater"


def bomb_file(path, crater, how):
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(crater)))
    elif how == "old pickle":
        path.write_bytes(pickle.dumps(Bomb(crater), protocol=0))
    else:
        torch.save(Bomb(crater), path)
    return path


@pytest.fixture
def exported(tmp_path):
    root = get_settings().ARTIFACT_DIR
    return export_model(toy_model(root), ArtifactStore(root), tmp_path / "download")


def rename(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("how", ["pickle", "old pickle", "torch"])
@pytest.mark.parametrize("name", ["evil.model", "evil.pth", "evil.pt", "evil.nequip.zip"])
def test_a_folder_that_names_a_pickle_is_refused(exported, crater, how, name):
    bomb = bomb_file(exported / name, crater, how)
    rename(exported, foundation_model=str(bomb))
    for path in (exported, exported / "model.json"):
        with pytest.raises(UntrustedFileError, match="trust_pickle=True") as caught:
            load_calculator(path=path)
        assert "onfly models convert" in str(caught.value)
    assert not crater.exists()


def test_names_relative_to_the_working_directory_and_of_downloads(
    exported, crater, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("evil.model", "mace-mp-evil"):  # a file wins over a name of that form
        bomb_file(tmp_path / name, crater, "torch")
        rename(exported, foundation_model=name)
        with pytest.raises(UntrustedFileError):
            load_calculator(path=exported)
    assert not crater.exists()


def test_a_model_of_the_library_is_refused_too(crater, tmp_path):
    bomb = bomb_file(tmp_path / "evil.model", crater, "torch")
    doc = toy_model(get_settings().ARTIFACT_DIR).model_copy(update={"foundation_model": str(bomb)})
    ModelLibrary.from_settings().publish(doc)
    with pytest.raises(UntrustedFileError, match="m1 names the foundation model"):
        load_calculator(model_id="m1")
    assert not crater.exists()


def test_the_users_own_file_is_refused_too_and_loads_with_a_word(exported, crater, tmp_path):
    bomb = bomb_file(tmp_path / "own.model", crater, "torch")
    with pytest.raises(UntrustedFileError):
        load_calculator(path=exported, foundation_model=str(bomb))
    assert not crater.exists()
    # the word opens the file: what is in it runs, and is no model
    with pytest.raises(Exception, match="MACE"):
        load_calculator(path=exported, foundation_model=str(bomb), trust_pickle=True)
    assert crater.exists()


def test_another_file_than_the_recorded_one_is_not_even_opened(exported, crater, tmp_path):
    bomb = bomb_file(tmp_path / "evil.model", crater, "torch")
    rename(exported, foundation_model=str(bomb), foundation_sha256="a" * 64)
    with pytest.raises(ValueError, match="another foundation model"):
        load_calculator(path=exported, trust_pickle=True)
    assert not crater.exists()


def test_the_protection_is_not_lost_when_mace_switches_it_off(crater, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert runs_code(bomb_file(tmp_path / "evil.pt", crater, "torch"))
    assert not crater.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"


def test_files_of_tensors_run_nothing(tmp_path):
    torch.save({"model": {"weight": torch.ones(2)}, "epoch": 3}, tmp_path / "plain.pt")
    assert not runs_code(tmp_path / "plain.pt")
    save_file({"weight": torch.ones(2)}, tmp_path / "plain.safetensors")
    assert not runs_code(tmp_path / "plain.safetensors")
    (tmp_path / "empty.pt").write_bytes(b"")
    assert runs_code(tmp_path / "empty.pt"), "what cannot be read is not trusted"


def test_a_document_that_names_objects_is_refused(exported, tmp_path):
    """Decoding an object imports its module; a document of ours has structures only."""
    content = json.loads((exported / "model.json").read_text())
    content["settings"] = {"x": [{"@module": "antigravity", "@class": "Popen"}]}
    (exported / "model.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="names objects of antigravity"):
        load_calculator(path=exported)


def test_an_untouched_folder_loads(exported):
    atoms = AseAtomsAdaptor.get_atoms(crystal(), msonable=False)
    atoms.calc = load_calculator(path=exported)
    assert atoms.get_potential_energy() < 1e3
