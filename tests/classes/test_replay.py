from __future__ import annotations

import numpy as np
import pytest
from ase.data import atomic_numbers, covalent_radii

from onfly.classes.replay import MOST_PAIRS, WALL, unrelated_crystals, wall_pairs
from onfly.potentials import load_foundation


def test_each_pair_of_elements_comes_closer_than_a_bond():
    found = wall_pairs(["Na", "Cl"])
    assert [a.get_chemical_formula() for a in found[:: len(WALL)]] == ["Cl2", "ClNa", "Na2"]
    for atoms in found:
        bond = sum(covalent_radii[atoms.numbers])
        assert 0.5 * bond < atoms.get_distance(0, 1, mic=True) < bond


def test_of_many_elements_some_pairs_are_drawn_always_the_same():
    elements = [e for e, z in atomic_numbers.items() if 2 < z < 30]
    found = wall_pairs(elements)
    assert len(found) == MOST_PAIRS * len(WALL)
    assert [str(a.symbols) for a in wall_pairs(elements)] == [str(a.symbols) for a in found]


@pytest.fixture
def potential():
    return load_foundation("toy")


def test_crystals_have_no_two_elements_of_the_class(potential):
    avoid = ["Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al", "O", "S", "Se"]
    found = unrelated_crystals(potential, 40, avoid, ("test",))
    assert len(found) == 40
    assert len({a.get_chemical_formula() for a in found}) == 40
    for atoms in found:
        assert len(set(atoms.get_chemical_symbols()) & set(avoid)) < 2
        assert atoms.pbc.all()


def test_what_is_measured_on_is_not_what_is_replayed(potential):
    replay = unrelated_crystals(potential, 20, [], ("replay",))
    check = unrelated_crystals(potential, 20, [], ("check",), not_these=replay)
    formulas = [{a.get_chemical_formula() for a in part} for part in (replay, check)]
    assert not formulas[0] & formulas[1]
    again = unrelated_crystals(potential, 20, [], ("replay",))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(replay, again, strict=True))


def test_a_foundation_of_few_elements_gives_what_it_can():
    small = load_foundation("toy", elements=["Cu"])
    assert len(unrelated_crystals(small, 10, [], ("test",))) == 1  # each composition once
