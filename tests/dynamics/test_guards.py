"""The shortest distance, at the price of every step."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from onfly.dynamics import guards
from onfly.dynamics.guards import shortest_distance


def cells():
    skewed = bulk("Cu") * (3, 3, 3)
    slab = bulk("Au", cubic=True) * (2, 2, 2)
    slab.pbc = (True, True, False)
    return {
        "cubic": bulk("Cu", cubic=True) * (2, 2, 2),
        "skewed": skewed,
        "slab": slab,
        "molecule": molecule("C6H6"),
        "small": bulk("Cu"),
        "one atom": Atoms("Cu"),
    }


@pytest.mark.parametrize("name", cells())
@pytest.mark.parametrize("amount", [0.05, 0.9])
def test_all_pairs_find_what_a_neighbour_list_finds(name, amount):
    for seed in range(5):
        atoms = cells()[name]
        atoms.rattle(amount, seed=seed)
        # across the border of the cell as well
        atoms.positions += [0.7, -1.3, 2.1]
        found = shortest_distance(atoms, 0.8)
        assert found == pytest.approx(guards._by_neighbour_list(atoms, 0.8), rel=1e-9)


def test_atoms_are_too_close_across_the_border():
    atoms = Atoms("Cu2", positions=[[0.1, 5, 5], [9.8, 5, 5]], cell=[10, 10, 10], pbc=True)
    assert shortest_distance(atoms, 0.5) == pytest.approx(0.3 / 2.64, abs=0.01)
    atoms.pbc = False
    assert np.isinf(shortest_distance(atoms, 0.5))


def test_it_is_cheaper_than_a_neighbour_list():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)

    def best(function):
        times = []
        for _ in range(20):
            start = time.perf_counter()
            function(atoms, 0.5)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(shortest_distance) < 0.6 * best(guards._by_neighbour_list)
