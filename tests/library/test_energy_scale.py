"""Energies per atom agree in every cell of a compound, by every way to a calculator."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.io.trajectory import Trajectory
from ase.md.logger import MDLogger
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from atomate2.forcefields.jobs import ForceFieldRelaxMaker, ForceFieldStaticMaker
from atomate2.forcefields.md import ForceFieldMDMaker
from jobflow import run_locally
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactStore, RunWorkspace
from onfly.calculators import EnergyScaleError, build_calculator, load_calculator
from onfly.library import ModelLibrary
from onfly.library.energy_offset import EnergyOffset
from onfly.library.export import export_model
from onfly.settings import get_settings
from onfly.stores import job_store
from onfly.testing.models import toy_model, toy_run, water, write_toy_run

CALLABLE = {"@module": "onfly.calculators", "@callable": "load_calculator"}
OFFSET = -273.0  # eV, for the cell of four atoms: a wrong scale cannot be overlooked
MEV = 1e-3


def ordered():
    """Return L1₀ CuAu in its tetragonal cell of four atoms; the primitive one has two."""
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.tetragonal(3.96, 3.67), ["Cu", "Cu", "Au", "Au"], sites)


def cells():
    cell = ordered()
    primitive = cell.get_primitive_structure()
    assert len(primitive) == 2
    return {"cell": cell, "doubled": cell * (2, 1, 1), "large": cell * (2, 2, 2), "prim": primitive}


def _atoms(structure):
    return AseAtomsAdaptor.get_atoms(structure, msonable=False)


@pytest.fixture
def root():
    return get_settings().ARTIFACT_DIR


@pytest.fixture
def model(root):
    return toy_model(root, structure=ordered(), energy_offset=OFFSET)


def by_id(model, root, tmp_path):
    ModelLibrary.from_settings().publish(model)
    return load_calculator(model_id=model.model_id)


def by_library(model, root, tmp_path):
    ModelLibrary.from_settings().publish(model)
    return ModelLibrary.from_settings().calculator(model.model_id, structure="Au8Cu8")


def by_folder_of_a_run(model, root, tmp_path):
    folder = RunWorkspace(root, model.run_id).folder
    (folder / "model.json").write_text(model.model_copy(update={"weights": None}).model_dump_json())
    return load_calculator(path=folder)


def by_unpublished_run(model, root, tmp_path):
    run = toy_run(model.run_id, ordered(), ensemble=model.ensemble, energy_offset=OFFSET)
    write_toy_run(root, run)
    return load_calculator(path=RunWorkspace(root, model.run_id).folder)


def by_exported_folder(model, root, tmp_path):
    return load_calculator(path=export_model(model, ArtifactStore(root), tmp_path / "out"))


def by_exported_file(model, root, tmp_path):
    folder = export_model(model, ArtifactStore(root), tmp_path / "out")
    return load_calculator(path=folder / "model.json")


WAYS = [
    by_id, by_library, by_folder_of_a_run, by_unpublished_run, by_exported_folder, by_exported_file,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_energies_per_atom_agree_in_all_cells(model, root, tmp_path, way):
    calculator = way(model, root, tmp_path)
    energies, stds, chances = {}, {}, {}
    for name, structure in cells().items():
        atoms = _atoms(structure)
        atoms.calc = calculator
        energies[name] = atoms.get_potential_energy() / len(atoms)
        stds[name] = calculator.get_property("energy_std", atoms) / len(atoms)
        chances[name] = calculator.probability()
    assert np.ptp([*energies.values()]) < MEV, energies
    assert energies["cell"] > -OFFSET / 4 - 10
    # the error of a repeated cell is the sum of equal errors
    assert np.ptp([*stds.values()]) < 1e-6 * stds["cell"]
    assert np.ptp([*chances.values()]) < 1e-6
    assert calculator.probability(1e3) < calculator.probability(1e-3)


@pytest.mark.parametrize("maker", [ForceFieldStaticMaker, ForceFieldRelaxMaker, ForceFieldMDMaker])
def test_atomate2_makers_give_the_same_energies(model, tmp_path, monkeypatch, maker):
    monkeypatch.chdir(tmp_path)
    ModelLibrary.from_settings().publish(model)
    options = {"force_field_name": CALLABLE, "calculator_kwargs": {"model_id": "m1"}}
    if maker is ForceFieldMDMaker:  # at rest, so that the energy is that of the first step
        options |= {
            "n_steps": 1,
            "time_step": 1e-3,
            "temperature": 0.0,
            "dynamics": "velocityverlet",
        }
        options |= {"ensemble": "nve"}
    elif maker is ForceFieldRelaxMaker:
        options |= {"steps": 2, "relax_cell": False}
    store = job_store()
    found = []
    for structure in (ordered(), ordered() * (2, 1, 1), ordered().get_primitive_structure()):
        job = maker(**options).make(structure)
        run_locally(job, store=store, ensure_success=True, log=False)
        output = store.get_output(job.uuid, load=True)["output"]
        found.append(output["energy"] / len(structure))
    assert np.ptp(found) < MEV, found
    assert found[0] > -OFFSET / 4 - 10


def test_several_molecules_are_several_units(root):
    doc = toy_model(root, structure=water(), energy_offset=-9.0)
    calculator = build_calculator(doc, ArtifactStore(root))
    one = _atoms(water())
    one.calc = calculator
    two = one.copy()
    two.translate([50, 0, 0])
    two += one
    two.calc = calculator
    assert two.get_potential_energy() == pytest.approx(2 * one.get_potential_energy(), abs=MEV)


def vacancy():
    atoms = _atoms(ordered() * (2, 2, 2))
    del atoms[0]
    return atoms


def test_energies_of_other_compositions_are_refused_and_forces_given(model, root):
    atoms = vacancy()
    atoms.calc = build_calculator(model, ArtifactStore(root))
    assert atoms.get_forces().shape == (31, 3)
    assert np.isfinite(atoms.get_stress()).all()
    assert atoms.calc.get_property("forces_std", atoms).shape == (31, 3)
    for ask in (
        atoms.get_potential_energy,
        lambda: atoms.get_potential_energy(force_consistent=True),
        lambda: atoms.calc.get_property("energy_std", atoms),
        atoms.calc.probability,
    ):
        with pytest.raises(EnergyScaleError, match=r"m1 on Au16Cu15.*known for CuAu in cells of"):
            ask()
    assert issubclass(EnergyScaleError, PropertyNotImplementedError)
    # the next cell of the compound has its energy
    whole = _atoms(ordered())
    whole.calc = atoms.calc
    assert np.isfinite(whole.get_potential_energy())
    assert atoms.calc.probability() > 0


def test_md_of_a_defect_runs_without_energies(model, root, tmp_path):
    atoms = vacancy()
    atoms.calc = build_calculator(model, ArtifactStore(root))
    before = atoms.positions.copy()
    md = VelocityVerlet(atoms, 1.0 * units.fs, trajectory=str(tmp_path / "md.traj"))
    md.run(3)
    assert np.abs(atoms.positions - before).max() > 1e-6
    frames = Trajectory(str(tmp_path / "md.traj"))
    assert len(frames) == 4
    assert frames[-1].get_forces().shape == (31, 3)
    with pytest.raises(PropertyNotImplementedError):
        frames[-1].get_potential_energy()
    atoms.write(tmp_path / "frame.extxyz")
    assert "energy" not in read(tmp_path / "frame.extxyz").calc.results
    md.attach(MDLogger(md, atoms, io.StringIO()))
    with pytest.raises(EnergyScaleError, match="energy_scale='foundation'"):
        md.run(1)


def test_relaxations_of_a_defect_stop_or_take_the_scale_of_the_foundation(model, root):
    atoms = vacancy()
    atoms.calc = build_calculator(model, ArtifactStore(root))
    for target in (atoms, FrechetCellFilter(atoms)):
        with pytest.raises(EnergyScaleError, match="energy_scale='foundation'"):
            BFGS(target, logfile=None).run(fmax=0.01, steps=2)
    atoms.calc = build_calculator(model, ArtifactStore(root), energy_scale="foundation")
    first = atoms.get_potential_energy()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=5)
    assert atoms.get_potential_energy() < first
    # the scale is the foundation's for the compound as well, in every cell
    for structure in cells().values():
        here, there = _atoms(structure), _atoms(structure)
        here.calc = atoms.calc
        there.calc = build_calculator(model, ArtifactStore(root))
        shift = here.get_potential_energy() - there.get_potential_energy()
        assert shift == pytest.approx(OFFSET * len(here) / 4, abs=1e-6)
    with pytest.raises(ValueError, match="neither 'labels' nor 'foundation'"):
        build_calculator(model, ArtifactStore(root), energy_scale="dft")


def test_offsets_by_element_give_defects_an_energy(model, root):
    aligned = model.model_copy(update={"element_offsets": {"Cu": -50.0, "Au": -80.0}})
    store = ArtifactStore(root)
    calculator = build_calculator(aligned, store)
    # -273 = 2·(-50) + 2·(-80) - 13: what the elements leave unexplained is divided over the atoms
    atoms, whole = vacancy(), _atoms(ordered() * (2, 2, 2))
    atoms.calc, whole.calc = calculator, calculator
    plain = vacancy()
    plain.calc = build_calculator(model, store, energy_scale="foundation")
    shift = atoms.get_potential_energy() - plain.get_potential_energy()
    assert shift == pytest.approx(-(8 * OFFSET + 50.0 + 13 / 4), abs=1e-6)
    # the compound itself keeps its own offset, in cells of any size
    reference = _atoms(ordered() * (2, 2, 2))
    reference.calc = build_calculator(model, store)
    assert whole.get_potential_energy() == reference.get_potential_energy()
    lacking = model.model_copy(update={"element_offsets": {"Cu": -50.0}})
    atoms.calc = build_calculator(lacking, store)
    with pytest.raises(EnergyScaleError):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("counts", "same"),
    [
        ({"Na": 1, "Cl": 1}, True),
        ({"Na": 27, "Cl": 27}, True),
        ({"Na": 4, "Cl": 3}, False),
        ({"Na": 4}, False),
        ({"Na": 4, "Cl": 4, "K": 4}, False),
    ],
)
def test_same_compound(counts, same):
    assert EnergyOffset(1.0, {"Na": 4, "Cl": 4}).same_compound(counts) is same


def test_an_offset_needs_atoms():
    with pytest.raises(ValueError, match="no atoms of some element"):
        EnergyOffset(1.0, {"Na": 0})
