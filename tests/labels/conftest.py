from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ase.build import molecule
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    """Calculations write into the current directory."""
    monkeypatch.chdir(tmp_path)


def rattled(structure, amplitude=0.05, seed=0):
    """Return a copy with every coordinate displaced by normal numbers of the given width."""
    shift = np.random.default_rng(seed).normal(scale=amplitude, size=(len(structure), 3))
    copy = structure.copy()
    for index, vector in enumerate(shift):
        copy.translate_sites([index], vector, frac_coords=False, to_unit_cell=False)
    return copy


@cache
def rock_salt() -> Structure:
    """Return the cell; the 192 operations of its group take a third of a second."""
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


@cache
def fcc_copper() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])


@pytest.fixture
def nacl() -> Structure:
    """Interleaved, so that a set that sorts sites does change their order."""
    cell = rock_salt()
    return rattled(Structure.from_sites([cell[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]))


@pytest.fixture
def copper() -> Structure:
    return rattled(fcc_copper())


@pytest.fixture
def water() -> Molecule:
    return AseAtomsAdaptor.get_molecule(molecule("H2O"))
