from __future__ import annotations

import ase.io
import numpy as np
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.calculators import load_calculator
from onfly.library import ModelLibrary
from onfly.library.export import export_labels, export_model, read_labels
from onfly.settings import get_settings
from onfly.testing.models import crystal, toy_label, toy_model, toy_run, water, write_toy_run


def test_labels_of_many_compounds_become_one_data_set(tmp_path):
    root = get_settings().ARTIFACT_DIR
    stress = np.arange(9.0).reshape(3, 3)
    stress = (stress + stress.T).tolist()
    for name, structure, fields in (
        ("crystal", crystal(), {"stress": stress}),
        ("silver", crystal("Cu", "Ag"), {}),
        ("water", water(), {}),
    ):
        labels = [toy_label(index, name, structure, **fields) for index in range(2)]
        write_toy_run(root, toy_run(name, structure, campaign="c"), labels)
    library = ModelLibrary.from_settings()
    library.add_runs()
    labels = read_labels(library.labels_store, {"campaign": "c"})
    assert [(label.run_id, label.index) for label in labels] == [
        (name, index) for name in ("crystal", "silver", "water") for index in range(2)
    ]
    path = tmp_path / "sets/train.extxyz"
    assert export_labels(labels, path) == 6
    frames = ase.io.read(path, ":")
    assert [f.get_chemical_formula() for f in frames[::2]] == ["Au2Cu2", "Ag2Cu2", "H2O"]
    for frame, label in zip(frames, labels, strict=True):
        assert frame.get_potential_energy() == pytest.approx(label.energy, abs=1e-9)
        np.testing.assert_allclose(frame.get_forces(), label.forces, atol=1e-7)
        np.testing.assert_allclose(frame.positions, label.structure.cart_coords, atol=1e-7)
        assert frame.info["run_id"] == label.run_id
    np.testing.assert_allclose(frames[0].get_stress(voigt=False), stress)
    assert not frames[-1].pbc.any()
    assert [p.name for p in path.parent.iterdir()] == ["train.extxyz"]


def test_energies_of_different_methods_do_not_mix(tmp_path, caplog):
    labels = [toy_label(0), toy_label(1, labeller="vasp")]
    with pytest.raises(ValueError, match="different labellers"):
        export_labels(labels, tmp_path / "x.extxyz")
    with pytest.raises(ValueError, match="no labels"):
        export_labels([], tmp_path / "x.extxyz")
    assert not (tmp_path / "x.extxyz").exists()
    export_labels([toy_label(0, input_hash="a"), toy_label(1, input_hash="b")], tmp_path / "y.xyz")
    assert "2 different inputs" in caplog.text


def test_an_exported_model_runs_from_its_folder(tmp_path, monkeypatch):
    root = get_settings().ARTIFACT_DIR
    doc = toy_model(root)
    folder = export_model(doc, ArtifactStore(root), tmp_path / "exported")
    atoms = AseAtomsAdaptor.get_atoms(crystal(), msonable=False)
    atoms.calc = load_calculator(path=folder)
    energy = atoms.get_potential_energy()
    root.rename(root.with_name("gone"))
    moved = folder.rename(tmp_path / "moved")
    for path in (moved, moved / "model.json"):
        atoms.calc = load_calculator(path=path)
        assert atoms.get_potential_energy() == energy
    next(moved.rglob("*.safetensors")).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ArtifactError):
        load_calculator(path=moved)
