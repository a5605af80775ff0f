"""`onfly.calculators`, which belongs to the library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from atomate2.forcefields.jobs import ForceFieldStaticMaker
from atomate2.forcefields.md import ForceFieldMDMaker
from jobflow import run_locally
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactStore, RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.calculators import build_calculator, load_calculator
from onfly.dynamics.predictor import StepPrediction
from onfly.library import ModelLibrary
from onfly.potentials import load_foundation
from onfly.settings import get_settings
from onfly.stores import job_store
from onfly.testing.models import (
    crystal,
    toy_ensemble,
    toy_model,
    toy_run,
    water,
    write_toy_run,
)

CALLABLE = {"@module": "onfly.calculators", "@callable": "load_calculator"}


@pytest.fixture
def root():
    return get_settings().ARTIFACT_DIR


def _atoms(structure):
    return AseAtomsAdaptor.get_atoms(structure, msonable=False)


def test_results_are_those_of_the_members_on_the_scale_of_the_labels(root):
    doc = toy_model(root)
    calculator = build_calculator(doc, ArtifactStore(root))
    atoms = _atoms(doc.structure)
    atoms.calc = calculator

    potential = load_foundation("toy", ("Au", "Cu"))
    batch = potential.collate([potential.graph(_atoms(doc.structure))])
    members = [ArtifactStore(root).load_tensors(ref) for ref in doc.ensemble.members]
    results = [
        potential.evaluate(
            {k: v for k, v in m.items() if not k.startswith("head.")}, batch, stress=True
        )
        for m in members
    ]
    energies = np.array([float(r.energy[0]) for r in results])
    assert atoms.get_potential_energy() == pytest.approx(energies.mean() + 2.5, abs=1e-9)
    forces = np.mean([r.forces.numpy() for r in results], axis=0)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-9)
    stress = np.mean([r.stress[0].numpy() for r in results], axis=0)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-9)

    raw = math.sqrt(energies.var(ddof=1) + (0.1 * doc.threshold_ev) ** 2)
    calibration = Calibration(**doc.calibration.model_dump())
    factor = math.sqrt((10 + 9 / 2) / (1.5 + 6 / 2)) * math.sqrt(9 / 7)
    assert calculator.results["energy_std"] == pytest.approx(raw * factor, rel=1e-9)
    assert "forces_std" not in calculator.results
    forces_std = calculator.get_property("forces_std", atoms)
    assert forces_std.shape == (4, 3)
    spread = np.array([r.forces.numpy() for r in results]).var(axis=0, ddof=1)
    assert (forces_std**2 >= spread - 1e-12).all()
    stress_std = calculator.get_property("stress_std", atoms)
    spread = np.array([r.stress[0].numpy() for r in results]).var(axis=0, ddof=1)
    assert (stress_std[:3] ** 2 >= spread.diagonal()).all()
    assert calculator.probability() == pytest.approx(calibration.exceedance(raw, 0.1))
    assert calculator.probability(1.0) < calculator.probability(0.1) < calculator.probability(0.01)


def test_forces_are_the_derivative_of_the_energy(root):
    doc = toy_model(root)
    atoms = _atoms(doc.structure)
    atoms.calc = build_calculator(doc, ArtifactStore(root))
    numerical = atoms.calc.calculate_numerical_forces(atoms, d=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-6)


def test_a_molecule_has_no_stress(root):
    doc = toy_model(root, structure=water())
    atoms = _atoms(water())
    atoms.calc = build_calculator(doc, ArtifactStore(root))
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_other_elements_are_refused(root):
    atoms = _atoms(crystal("Cu", "Ag"))
    atoms.calc = build_calculator(toy_model(root), ArtifactStore(root))
    with pytest.raises(ValueError, match="m1 knows Au, Cu and cannot describe Ag"):
        atoms.get_potential_energy()


def test_a_posterior_of_one_member_advertises_no_std_of_each_atom(root):
    """Until the posterior knows the std of each component, all it has is one number."""
    doc = toy_model(root)
    alone = doc.ensemble.model_copy(update={"members": doc.ensemble.members[:1]})
    calculator = build_calculator(doc.model_copy(update={"ensemble": alone}), ArtifactStore(root))
    atoms = _atoms(doc.structure)
    atoms.calc = calculator
    assert np.isfinite(atoms.get_potential_energy())
    if "stress_std" in StepPrediction.__dataclass_fields__:
        assert calculator.get_property("forces_std", atoms).shape == (4, 3)
        assert calculator.get_property("stress_std", atoms).shape == (6,)
        return
    assert not {"forces_std", "stress_std"} & {*calculator.implemented_properties}
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("forces_std", atoms)


def test_probability_needs_an_energy(root):
    calculator = build_calculator(toy_model(root), ArtifactStore(root))
    with pytest.raises(RuntimeError, match="no energy"):
        calculator.probability()


def test_loading_from_folders(root, tmp_path):
    doc = toy_model(root)
    workspace = RunWorkspace(root, doc.run_id)
    bare = doc.model_copy(update={"weights": None})
    (workspace.folder / "model.json").write_text(bare.model_dump_json())
    atoms = _atoms(doc.structure)
    energies = []
    for path in (workspace.folder, workspace.folder / "model.json"):
        atoms.calc = load_calculator(path=path)
        energies.append(atoms.get_potential_energy())
    running = RunWorkspace(root, "unpublished")
    ensemble = toy_ensemble(running, crystal(), 0)
    write_toy_run(root, toy_run("unpublished", ensemble=ensemble, energy_offset=-2.5))
    atoms.calc = load_calculator(path=running.folder)
    energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1] == energies[2]


def test_what_cannot_be_loaded_is_explained(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at"):
        load_calculator(path=tmp_path / "nothing")
    with pytest.raises(ValueError, match="either model_id or path"):
        load_calculator()
    with pytest.raises(ValueError, match="either model_id or path"):
        load_calculator("m1", "x")
    with pytest.raises(LookupError, match="no model 'm1'"):
        load_calculator("m1")
    workspace = RunWorkspace(root, "young")
    write_toy_run(root, toy_run("young"))
    with pytest.raises(ValueError, match="no ensemble yet"):
        load_calculator(path=workspace.folder)


def test_another_foundation_model_is_refused(root, monkeypatch):
    from onfly.potentials.toy import ToyPotential

    doc = toy_model(root, foundation_sha256="a" * 64)
    monkeypatch.setattr(ToyPotential, "sha256", "b" * 64, raising=False)
    with pytest.raises(ValueError, match="another foundation model"):
        build_calculator(doc, ArtifactStore(root))


@pytest.mark.parametrize("maker", ["static", "md"])
def test_a_published_model_runs_in_atomate2(root, tmp_path, monkeypatch, maker):
    monkeypatch.chdir(tmp_path)
    ModelLibrary.from_settings().publish(toy_model(root))
    options = {"force_field_name": CALLABLE, "calculator_kwargs": {"model_id": "m1"}}
    structure = crystal() * (2, 1, 1)
    if maker == "static":
        job = ForceFieldStaticMaker(**options).make(structure)
    else:
        job = ForceFieldMDMaker(
            n_steps=5, time_step=1.0, temperature=300, mb_velocity_seed=1, **options
        ).make(structure)
    store = job_store()
    run_locally(job, store=store, ensure_success=True)
    task = store.get_output(job.uuid, load=True)
    final = structure if maker == "static" else Structure.from_dict(task["structure"])
    output = task["output"]
    atoms = _atoms(final)
    atoms.calc = load_calculator(model_id="m1")
    assert output["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(output["forces"], atoms.get_forces(), atol=1e-5)
