from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from onfly.analysis.order import (
    bond_length_distortion,
    cell_anisotropy,
    difference_of_stages,
    stage_means,
)


def _perovskite(stretch=0.0):
    """MnO3 with Mn–O bonds of 2(1 + stretch) Å along z and 2 Å across."""
    return Atoms(
        "MnO3",
        scaled_positions=[[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
        cell=[4, 4, 4 * (1 + stretch)],
        pbc=True,
    ).repeat(2)


def test_distortion_of_an_octahedron():
    order = bond_length_distortion("Mn", "O")
    assert order(_perovskite()) == pytest.approx(0, abs=1e-12)
    bonds = np.array([2.0] * 4 + [2.2] * 2)
    assert order(_perovskite(0.1)) == pytest.approx(bonds.std() / bonds.mean())
    with pytest.raises(ValueError, match="no Fe"):
        bond_length_distortion("Fe", "O")(_perovskite())


def test_cell_anisotropy():
    assert cell_anisotropy()(bulk("Al", cubic=True)) == pytest.approx(0)
    cell = Atoms(cell=[4 * np.sqrt(2), 8, 4 * np.sqrt(2)])
    assert cell_anisotropy((np.sqrt(2), 2, np.sqrt(2)))(cell) == pytest.approx(0)
    assert cell_anisotropy()(Atoms(cell=[3, 4, 5])) == pytest.approx(0.5)


def test_programme_with_a_transition_and_back():
    rng = np.random.default_rng(0)
    temperatures = np.repeat([300.0, 800.0, 300.0], 400)
    stages = np.repeat([0, 1, 2], 400)
    target = np.where(temperatures > 500, 0.01, 0.05)
    values, x = [], 0.05
    for goal in target:  # relaxes over 20 frames
        x += (goal - x) / 20
        values.append(x + 0.003 * rng.normal())
    first, hot, last = stage_means(values, stages, temperatures)
    assert (first.temperature, hot.temperature) == (300, 800)
    assert first.average.mean == pytest.approx(0.05, abs=0.002)
    assert hot.average.mean == pytest.approx(0.01, abs=0.002)
    drop, error, p = difference_of_stages(first, hot)
    assert drop == pytest.approx(-0.04, abs=0.003)
    assert error < 0.003
    assert p < 1e-6
    # the first quarter, where the phase still forms again, is left out
    assert stage_means(values, stages, discard=0.0)[2].average.mean < last.average.mean


def test_equal_stages_are_rarely_told_apart():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(200):
        a, b = stage_means(rng.normal(size=200), np.repeat([0, 1], 100))
        p.append(difference_of_stages(a, b)[2])
    assert np.mean(np.array(p) < 0.05) < 0.1


def test_bad_input():
    with pytest.raises(ValueError, match="one entry"):
        stage_means([1, 2, 3], [0, 0])
    with pytest.raises(ValueError, match="too few"):
        stage_means([1, 2, 3], [0, 0, 1])
