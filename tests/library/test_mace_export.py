"""Exported MACE files, read by mace and by TorchScript alone."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read, write
from pymatgen.core import Molecule
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

from onfly.artifacts import ArtifactStore
from onfly.calculators import UntrustedFileError
from onfly.calculators import build_calculator as build
from onfly.cli import models
from onfly.library import ModelLibrary
from onfly.library.mace_export import export_mace as export
from onfly.potentials.mace_package import UNSAFE_SWITCH
from onfly.potentials.rebinding import scatter_sum
from onfly.schemas import ArtifactRef
from onfly.settings import get_settings
from onfly.testing.models import random_mace, toy_model, water

pytest.importorskip("mace", exc_type=ImportError)

OFFSET = 1234.5  # foundation minus labels, eV

# the foundation models of these tests are pickled, and ours
build_calculator = partial(build, trust_pickle=True)
export_mace = partial(export, trust_pickle=True)

# what a user does, in a process that cannot import this package
EVALUATE = """
import json, sys
sys.modules["onfly"] = None
from ase.io import read
from mace.calculators import MACECalculator
atoms = read(sys.argv[1])
atoms.calc = MACECalculator(model_paths=sys.argv[2:], device="cpu")
calc = atoms.calc
print(json.dumps({
    "energy": atoms.get_potential_energy(),
    "forces": atoms.get_forces().tolist(),
    "stress": atoms.get_stress().tolist(),
    "energies": [float(e) for e in calc.results.get("energies", [])],
    "energy_comm": [float(e) for e in calc.results.get("energy_comm", [])],
    "numbers": [m.atomic_numbers.tolist() for m in calc.models],
    "dtype": str(next(calc.models[0].parameters()).dtype),
}))
"""


def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture(scope="module")
def foundation(tmp_path_factory):
    return str(random_mace(tmp_path_factory.mktemp("mace") / "random.model", torch.float32))


@pytest.fixture(scope="module")
def converted(foundation):
    """Return the same model as a file that needs no trust, from which ensembles are made."""
    return str(random_mace(Path(foundation).with_suffix(".safetensors"), torch.float32))


@pytest.fixture
def root():
    return get_settings().ARTIFACT_DIR


@pytest.fixture
def fine_tuned(converted):
    """Return a function that makes a model whose document names the pickled foundation."""

    def make(root, foundation, model_id="m1", structure=None, **fields):
        structure = structure or AseAtomsAdaptor.get_structure(salt())
        options = {"energy_offset": OFFSET, "foundation": converted}
        doc = toy_model(root, model_id, structure, **options | fields)
        return doc.model_copy(update={"foundation_model": foundation})

    return make


def member_calculator(doc, root, index):
    """Return the library's calculator with one member alone."""
    ensemble = doc.ensemble.model_copy(update={"members": [doc.ensemble.members[index]]})
    return build_calculator(doc.model_copy(update={"ensemble": ensemble}), ArtifactStore(root))


def run_mace(tmp_path, atoms, paths):
    write(tmp_path / "atoms.extxyz", atoms)
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(tmp_path / "atoms.extxyz"), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_committee_of_files_gives_what_the_library_gives(fine_tuned, root, foundation, tmp_path):
    doc = fine_tuned(root, foundation)
    paths = export_mace(doc, ArtifactStore(root), tmp_path / "out")
    assert [p.name for p in paths] == ["member-0.model", "member-1.model", "member-2.model"]
    write(tmp_path / "salt.extxyz", salt())
    atoms = read(tmp_path / "salt.extxyz")
    found = run_mace(tmp_path, atoms, paths)
    assert found["numbers"] == [[11, 17]] * 3
    atoms.calc = build_calculator(doc, ArtifactStore(root))
    assert found["dtype"] == "torch.float32"
    tolerance = 1e-3  # a total of 10³ eV in single precision
    assert found["energy"] == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
    assert found["energy"] < -1000
    np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=1e-2 * tolerance)
    np.testing.assert_allclose(found["stress"], atoms.get_stress(), atol=1e-3 * tolerance)
    for index in range(3):
        atoms.calc = member_calculator(doc, root, index)
        energy = atoms.get_potential_energy()
        assert found["energy_comm"][index] == pytest.approx(energy, abs=tolerance)
    spread = np.ptp(found["energy_comm"])
    assert spread > 10 * tolerance, "the members are different models"


def test_one_member_in_double_precision(fine_tuned, root, foundation, tmp_path, monkeypatch):
    from mace.calculators import MACECalculator

    doc = fine_tuned(root, foundation)
    store = ArtifactStore(root)
    (path,) = export_mace(doc, store, tmp_path, members=[1], dtype=torch.float64)
    assert path.name == "member-1.model"
    monkeypatch.setenv(UNSAFE_SWITCH, "1")  # as mace itself sets it; the file is ours
    atoms, other = salt(), salt()
    atoms.calc = MACECalculator(model_paths=str(path), device="cpu")
    other.calc = member_calculator(doc, root, 1)
    # the library evaluates in single precision, but sums the energies of the atoms in double
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-5)
    # the offset is one per atom: a cell of twice the size has twice the energy
    energy = atoms.get_potential_energy()
    double = salt() * (2, 1, 1)
    double.calc = atoms.calc
    assert double.get_potential_energy() == pytest.approx(2 * energy, abs=1e-4)


def test_the_lammps_file_gives_the_same(fine_tuned, root, foundation, tmp_path, monkeypatch):
    from mace import modules
    from mace.calculators import MACECalculator

    doc = fine_tuned(root, foundation)
    store = ArtifactStore(root)
    (path,) = export_mace(doc, store, tmp_path, file_format="lammps", members=[2])
    assert path.name == "member-2.model-lammps.pt"
    assert modules.blocks.scatter_sum is not scatter_sum, "no function of mace is replaced"
    (plain,) = export_mace(doc, store, tmp_path, members=[2])
    monkeypatch.setenv(UNSAFE_SWITCH, "1")
    atoms = salt()
    atoms.calc = MACECalculator(model_paths=str(plain), device="cpu")
    script = torch.jit.load(path)
    assert script.atomic_numbers.tolist() == [11, 17]
    batch = atoms.calc._atoms_to_batch(atoms).to_dict()
    local = torch.ones(len(atoms), dtype=next(script.parameters()).dtype)
    result = script(batch, local, True)
    np.testing.assert_allclose(
        result["total_energy_local"].item(), atoms.get_potential_energy(), rtol=1e-6
    )
    np.testing.assert_allclose(result["forces"].numpy(), atoms.get_forces(), atol=1e-5)
    # LAMMPS takes the virial: minus the derivative by strain
    np.testing.assert_allclose(
        result["virials"][0].numpy(), -atoms.get_stress(voigt=False) * atoms.get_volume(), atol=1e-4
    )


def test_molecules_and_all_elements_of_the_foundation(fine_tuned, root, foundation, tmp_path):
    doc = fine_tuned(root, foundation, "water", water())
    (path,) = export_mace(doc, ArtifactStore(root), tmp_path, members=[0])
    everything = Molecule(["H", "C", "O", "Na", "Cl"], np.diag([0.0, 1.1, 2.1, 3.4, 5.0]))
    whole = fine_tuned(root, foundation, "whole", everything)
    (other,) = export_mace(whole, ArtifactStore(root), tmp_path / "x", members=[0])
    for file, numbers in ((path, [1, 8]), (other, [1, 6, 8, 11, 17])):
        model = torch.load(file, weights_only=False)
        assert model.atomic_numbers.tolist() == numbers
        energies = model.atomic_energies_fn.atomic_energies.flatten().double()
        known = {1: -1.0, 6: -5.0, 8: -4.0, 11: -2.0, 17: -3.0}
        n_atoms = 3 if file is path else 5
        expected = [known[z] - OFFSET / n_atoms for z in numbers]
        np.testing.assert_allclose(energies, expected, rtol=1e-6)


def test_energies_per_atom_agree_in_all_cells(fine_tuned, root, foundation, tmp_path, monkeypatch):
    """Of the files for mace and LAMMPS, and of the library's calculator on the same model."""
    from mace.calculators import MACECalculator

    plain = AseAtomsAdaptor.get_structure(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    doc = fine_tuned(root, foundation, structure=plain)
    store = ArtifactStore(root)
    (path,) = export_mace(doc, store, tmp_path, members=[1], dtype=torch.float64)
    (lammps,) = export_mace(
        doc, store, tmp_path, file_format="lammps", members=[1], dtype=torch.float64
    )
    monkeypatch.setenv(UNSAFE_SWITCH, "1")
    mace, ours = MACECalculator(model_paths=str(path)), member_calculator(doc, root, 1)
    script = torch.jit.load(lammps)
    energies = []
    for structure in (plain, plain * (2, 1, 1), plain.get_primitive_structure()):
        atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
        for calculator in (mace, ours):
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy() / len(atoms))
        batch = mace._atoms_to_batch(atoms).to_dict()
        total = script(batch, torch.ones(len(atoms), dtype=torch.float64), False)
        energies.append(total["total_energy_local"].item() / len(atoms))
    assert np.ptp(energies) < 1e-3, energies
    assert energies[0] < -100


def test_aligned_offsets_go_to_the_elements(fine_tuned, root, foundation, tmp_path):
    offsets = {"Na": 100.0, "Cl": 200.0}  # of 1234.5, 34.5 are left for the eight atoms
    doc = fine_tuned(root, foundation, element_offsets=offsets)
    (path,) = export_mace(doc, ArtifactStore(root), tmp_path, members=[0], dtype=torch.float64)
    model = torch.load(path, weights_only=False)
    energies = dict(
        zip(
            model.atomic_numbers.tolist(),
            model.atomic_energies_fn.atomic_energies.flatten().tolist(),
            strict=True,
        )
    )
    assert energies == pytest.approx({11: -2 - 100 - 34.5 / 8, 17: -3 - 200 - 34.5 / 8})


def test_a_pickled_foundation_model_needs_the_users_word(fine_tuned, root, foundation, tmp_path):
    doc = fine_tuned(root, foundation)
    with pytest.raises(UntrustedFileError, match="trust_pickle=True"):
        export(doc, ArtifactStore(root), tmp_path)
    with pytest.raises(UntrustedFileError, match="onfly models convert"):
        build(doc, ArtifactStore(root))
    assert not list(tmp_path.glob("member-*"))


def test_only_the_fine_tuned_head_is_shifted(tmp_path, foundation):
    from onfly.potentials.mace_export import load_template, with_parameters

    trusted = {"family": "mace", "source": foundation, "options": {"trust_pickle": True}}
    template = load_template(trusted, ["Na", "Cl"])
    params = dict(template.named_parameters())
    template.heads = ["other", "Default"]
    energies = template.atomic_energies_fn.atomic_energies
    template.atomic_energies_fn.atomic_energies = torch.atleast_2d(energies).repeat(2, 1)
    shifted = with_parameters(template, params, -10.0).atomic_energies_fn.atomic_energies
    np.testing.assert_allclose(shifted, [[-2.0, -3.0], [-12.0, -13.0]])


def test_what_cannot_be_exported_is_explained(fine_tuned, root, foundation, tmp_path):
    doc = fine_tuned(root, foundation)
    store = ArtifactStore(root)
    with pytest.raises(ValueError, match="no member 3: it has 3"):
        export_mace(doc, store, tmp_path, members=[0, 3])
    with pytest.raises(ValueError, match="another foundation model"):
        export_mace(doc.model_copy(update={"foundation_sha256": "a" * 64}), store, tmp_path)
    with pytest.raises(ValueError, match="toy is not a MACE model"):
        export_mace(toy_model(root, "toy"), store, tmp_path)
    with pytest.raises(FileNotFoundError, match="no model file"):
        export_mace(doc, store, tmp_path, foundation_model=str(tmp_path / "gone.model"))
    elements = water()
    wrong = fine_tuned(root, foundation, "w", elements).model_copy(
        update={"ensemble": doc.ensemble, "elements": ["Na", "Cl", "H"]}
    )
    with pytest.raises(ValueError, match="other elements"):
        export_mace(wrong, store, tmp_path)
    toy = toy_model(root, "t2").ensemble
    with pytest.raises(ValueError, match="do not belong to this MACE model"):
        export_mace(doc.model_copy(update={"ensemble": toy}), store, tmp_path)
    assert not list(tmp_path.glob("*.model"))
    ref = doc.ensemble.members[0]
    (root / ref.path).write_bytes(b"changed")
    assert isinstance(ref, ArtifactRef)
    with pytest.raises(Exception, match="was changed"):
        export_mace(doc, store, tmp_path)


def test_the_command(fine_tuned, root, foundation, tmp_path):
    library = ModelLibrary.from_settings()
    library.publish(fine_tuned(root, foundation))
    library.publish(toy_model(root, "toy"))

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(models.app, ["export", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result

    to = ("--to", tmp_path / "out", "--no-labels", "--trust-pickle")
    refused = invoke("m1", "--to", tmp_path / "out", "--format", "mace", code=2)
    assert "a pickled file" in refused.stderr
    result = invoke("m1", *to, "--format", "mace")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"member-{i}.model" for i in range(3)
    ]
    assert result.stdout.splitlines()[2] == str(tmp_path / "out/member-2.model")
    assert "Elements: Cl Na" in result.stderr
    invoke("m1", *to, "--format", "lammps", "--member", 1, "--dtype", "float64")
    assert (tmp_path / "out/member-1.model-lammps.pt").exists()
    assert "toy is not a MACE model" in invoke("toy", *to, "--format", "mace", code=2).stderr
    assert "need --format mace" in invoke("m1", *to, "--member", 0, code=2).stderr
    assert "no member 7" in invoke("m1", *to, "--format", "mace", "--member", 7, code=2).stderr
