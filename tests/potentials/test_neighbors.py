from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import primitive_neighbor_list

from onfly.potentials.neighbors import ROUNDING, find_candidates, select_pairs

CUTOFF = 4.0


def images_within(atoms: Atoms, cutoff: float) -> list[tuple[int, int, float]]:
    """All pairs by brute force over many images."""
    reach = range(-4, 5)
    found = []
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            for a in reach if atoms.pbc[0] else (0,):
                for b in reach if atoms.pbc[1] else (0,):
                    for c in reach if atoms.pbc[2] else (0,):
                        shift = np.array([a, b, c]) @ np.asarray(atoms.cell)
                        d = np.linalg.norm(atoms.positions[j] + shift - atoms.positions[i])
                        if 1e-9 < d < cutoff:
                            found.append((i, j, round(d, 9)))
    return sorted(found)


def skewed() -> Atoms:
    atoms = bulk("Si")
    atoms.rattle(0.1, seed=0)
    return atoms


def slab() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    "atoms", [skewed(), slab(), molecule("CH3CH2OH")], ids=["skewed", "slab", "mol"]
)
def test_pairs_equal_brute_force(atoms):
    pairs = select_pairs(find_candidates(atoms, CUTOFF), atoms, CUTOFF)
    lengths = np.linalg.norm(pairs.vectors, axis=1)
    found = sorted(
        (int(i), int(j), round(float(d), 9))
        for i, j, d in zip(pairs.center, pairs.neighbor, lengths, strict=True)
    )
    assert found == images_within(atoms, CUTOFF)


@pytest.mark.parametrize(
    "atoms", [skewed(), slab(), molecule("CH3CH2OH")], ids=["skewed", "slab", "mol"]
)
def test_reverse_is_the_same_pair_from_its_other_end(atoms):
    pairs = select_pairs(find_candidates(atoms, CUTOFF), atoms, CUTOFF)
    back = pairs.reverse
    assert (pairs.center[back] == pairs.neighbor).all()
    assert (back[back] == np.arange(len(back))).all()
    np.testing.assert_allclose(pairs.vectors[back], -pairs.vectors, atol=1e-12)


def test_skin_is_valid_until_an_atom_moved_half_of_it():
    atoms = skewed()
    candidates = find_candidates(atoms, CUTOFF, skin=0.4)
    moved = atoms.copy()
    moved.positions[0, 0] += 0.199
    assert candidates.valid_for(moved)
    moved.positions[0, 0] += 0.002
    assert not candidates.valid_for(moved)


def test_skin_is_not_valid_for_another_cell_composition_or_periodicity():
    atoms = skewed()
    candidates = find_candidates(atoms, CUTOFF, skin=0.4)
    strained = atoms.copy()
    strained.set_cell(atoms.cell * 1.0001)
    other = atoms.copy()
    other.symbols[0] = "C"
    open_end = atoms.copy()
    open_end.pbc = (True, True, False)
    assert candidates.valid_for(atoms)
    for changed in (strained, other, open_end, atoms.repeat((2, 1, 1))):
        assert not candidates.valid_for(changed)


def test_selection_from_a_skin_is_the_fresh_list_bit_by_bit():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=1)
    candidates = find_candidates(atoms, CUTOFF, skin=1.0)
    moved = atoms.copy()
    moved.rattle(0.1, seed=2)
    assert candidates.valid_for(moved)
    reused = select_pairs(candidates, moved, CUTOFF)
    fresh = select_pairs(find_candidates(moved, CUTOFF), moved, CUTOFF)
    for name in ("center", "neighbor", "reverse", "vectors"):
        assert np.array_equal(getattr(reused, name), getattr(fresh, name))


def test_missing_lattice_vector_is_an_error():
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]], pbc=True)
    with pytest.raises(ValueError, match="lattice vector"):
        find_candidates(atoms, CUTOFF)


@pytest.mark.parametrize("seed", range(40))
def test_search_equals_that_of_ase(seed):
    """Random cells, some skewed or open, with atoms far outside of them."""
    rng = np.random.default_rng(seed)
    n_atoms = int(rng.integers(1, 12))
    cell = rng.normal(size=(3, 3)) + np.diag([5.0, 6.0, 7.0])
    positions = 8.0 * rng.normal(size=(n_atoms, 3))
    pbc = rng.integers(0, 2, 3).astype(bool)
    atoms = Atoms("H" * n_atoms, positions=positions, cell=cell, pbc=pbc)
    found = find_candidates(atoms, CUTOFF)
    center, neighbor, image = primitive_neighbor_list(
        "ijS", pbc, cell, positions, CUTOFF + ROUNDING
    )
    order = np.lexsort((*image.T[::-1], neighbor, center))
    assert np.array_equal(found.center, center[order])
    assert np.array_equal(found.neighbor, neighbor[order])
    assert np.array_equal(found.image, image[order])


def test_undirected_pairs_and_ranks():
    atoms = skewed()
    pairs = select_pairs(find_candidates(atoms, CUTOFF), atoms, CUTOFF)
    bond, first = pairs.undirected()
    assert len(first) == len(bond) / 2
    assert (bond[first] == np.arange(len(first))).all()
    assert (bond[pairs.reverse] == bond).all()
    rank = pairs.rank()
    for center in range(len(atoms)):
        own = rank[pairs.center == center]
        assert (own == np.arange(len(own))).all()
