from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import SCFError

from onfly.labels.errors import LabelError
from onfly.labels.presets import label_maker
from onfly.labels.pyscf_calculator import PySCF

pytest.importorskip("pyscf")

SMALL = {"xc": "pbe", "basis": "sto-3g", "grid": 3}


def test_forces_are_derivatives_of_the_energy():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    atoms.calc = PySCF(**SMALL)
    forces = atoms.get_forces()
    energies = []
    for shift in (1e-3, -1e-3):
        moved = atoms.copy()
        moved.positions[1, 2] += shift
        moved.calc = PySCF(**SMALL)
        energies.append(moved.get_potential_energy())
    assert forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / 2e-3, abs=2e-3)
    assert abs(forces.sum(axis=0)).max() < 5e-3


def test_energy_of_a_known_atom():
    """Helium, Hartree-Fock, STO-3G: -2.807783958 Ha."""
    atoms = Atoms("He")
    atoms.calc = PySCF(xc="hf", basis="sto-3g", density_fit=False)
    assert atoms.get_potential_energy() / 27.211386245988 == pytest.approx(-2.807783958, abs=1e-6)


def test_charge_and_spin_from_the_molecule(water):
    from pymatgen.core import Molecule

    cation = Molecule(water.species, water.cart_coords, charge=1, spin_multiplicity=2)
    maker = label_maker("pyscf-pbe", basis="sto-3g")
    ionisation = maker.run(cation).output.energy - maker.run(water).output.energy
    assert 5 < ionisation < 20


def test_unconverged_scf_raises():
    atoms = molecule("H2O")
    atoms.calc = PySCF(**SMALL, max_cycle=1, conv_tol=1e-14)
    atoms.calc.parameters["conv_tol"] = 1e-30
    with pytest.raises(SCFError, match="not converged"):
        atoms.get_potential_energy()


def test_crystals_are_refused(copper):
    with pytest.raises(LabelError, match="for molecules"):
        label_maker("pyscf-pbe").run(copper)
