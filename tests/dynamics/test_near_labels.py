from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from onfly.dynamics.near_labels import ALONG_THE_WAY, NearLabels
from onfly.dynamics.predictor import Predictor
from tests.dynamics.test_predictor import LAST_LAYER, SCALES, crystal, learned, potential

__all__ = ["potential"]  # a fixture


def moved(atoms, length, seed=0):
    """The same atoms, a way of some length along a random direction."""
    way = np.random.default_rng(seed).normal(size=atoms.positions.shape)
    other = atoms.copy()
    other.positions += length * way / np.linalg.norm(way)
    return other


def test_error_left_and_force_error_along_the_way():
    label = crystal(0)
    near = NearLabels([label], np.array([-0.004]), force_error=0.05)
    assert near.variance(label) == pytest.approx(0.004**2)
    for length in (0.01, 0.1, 0.4):
        expected = 0.004**2 + (ALONG_THE_WAY * 0.05 * length) ** 2
        assert near.variance(moved(label, length)) == pytest.approx(expected)


def test_the_label_that_says_most_counts():
    near_by, good = crystal(0), crystal(1)
    near = NearLabels([near_by, good], np.array([0.02, 0.0]), force_error=0.01)
    at = moved(near_by, 0.05)
    of_each = [
        NearLabels([label], np.array([left]), force_error=0.01).variance(at)
        for label, left in ((near_by, 0.02), (good, 0.0))
    ]
    assert near.variance(at) == min(of_each)


def test_atoms_that_left_the_cell_are_where_they_were():
    label = crystal(0)
    wrapped = label.copy()
    wrapped.positions[1] += wrapped.cell.array[0] - 2 * wrapped.cell.array[2]
    assert NearLabels([label], np.zeros(1), force_error=1.0).variance(wrapped) < 1e-20


def test_other_cells_and_other_atoms_say_nothing():
    label, strained, other = crystal(0), crystal(0), crystal(0)
    strained.set_cell(strained.cell.array * 1.001, scale_atoms=True)
    other.symbols[0] = "Cu"
    near = NearLabels([strained, other], np.zeros(2), force_error=0.01)
    assert near.variance(label) == np.inf
    assert near.variance(bulk("Cu")) == np.inf
    with pytest.raises(ValueError, match="2 errors for 1 labelled"):
        NearLabels([label], np.zeros(2), force_error=0.01)


def test_molecules_have_no_cell():
    label = Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]])
    near = NearLabels([label], np.zeros(1), force_error=0.5)
    assert near.variance(moved(label, 0.1)) == pytest.approx((ALONG_THE_WAY * 0.05) ** 2)


def test_predictor_adds_the_precision_of_the_label(potential):
    state, label = learned(LAST_LAYER, potential), crystal(0)
    near = NearLabels([label], np.array([0.001]), force_error=0.02)
    plain = Predictor(potential, LAST_LAYER, state, SCALES)
    with_labels = Predictor(potential, LAST_LAYER, state, SCALES, near=near)
    for length in (0.02, 0.5, 50.0):
        at = moved(label, length)
        without, found = plain.predict(at), with_labels.predict(at)
        assert found.energy == without.energy
        own, close = without.energy_std**2 - SCALES.energy_std**2, near.variance(at)
        expected = 1 / (1 / own + 1 / close) + SCALES.energy_std**2
        assert found.energy_std == pytest.approx(expected**0.5)
    exact = NearLabels([label], np.zeros(1), force_error=0.02)
    said = Predictor(potential, LAST_LAYER, state, SCALES, near=exact).predict(label)
    assert said.energy_std == pytest.approx(SCALES.energy_std)
