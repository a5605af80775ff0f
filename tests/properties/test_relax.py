from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from onfly.properties.relax import NotRelaxedError, primitive_cell, relaxed, supercell_size


def test_the_cell_of_fcc_springs(crystal):
    atoms = crystal.atoms
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    found = relaxed(atoms, crystal.calculator, fmax=1e-4)
    assert found.get_volume() == pytest.approx(crystal.a**3 / 4, rel=1e-3)
    assert atoms.get_volume() != pytest.approx(found.get_volume(), rel=1e-2)  # not in place
    assert not found.constraints


def test_a_displaced_supercell_becomes_primitive(crystal):
    atoms = bulk("Cu", a=crystal.a, cubic=True).repeat(2)
    atoms.rattle(0.03, seed=0)
    found = relaxed(atoms, crystal.calculator, fmax=1e-3, keep_symmetry=False)
    cell = primitive_cell(found)
    assert len(cell) == 1
    assert cell.get_volume() == pytest.approx(crystal.a**3 / 4, rel=1e-3)


def test_without_a_minimum(crystal):
    atoms = crystal.atoms.repeat(2)
    atoms.rattle(0.1, seed=0)
    with pytest.raises(NotRelaxedError, match="2 steps"):
        relaxed(atoms, crystal.calculator, fmax=1e-5, max_steps=2)


def test_molecules_have_no_primitive_cell():
    with pytest.raises(ValueError, match="periodic"):
        primitive_cell(molecule("H2O"))


def test_size_of_the_supercell():
    assert supercell_size(Atoms(cell=np.diag([4.0, 3.0, 9.0]), pbc=True), 8.0) == (2, 3, 1)
