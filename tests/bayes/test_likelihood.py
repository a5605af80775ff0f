from __future__ import annotations

import math

import pytest

from onfly.bayes import LikelihoodScales
from onfly.units import EV_PER_KCAL_MOL as KCAL


def test_without_a_size_it_is_the_paper_s():
    assert LikelihoodScales.for_threshold(5.0 * KCAL).energy_std == pytest.approx(0.5 * KCAL)


def test_a_loose_threshold_of_a_large_cell_is_bounded_by_the_forces():
    scales = LikelihoodScales.for_threshold(30.0 * KCAL, n_atoms=64)
    assert scales.energy_std == pytest.approx(0.1 * math.sqrt(64 / 3) * KCAL)
    # an energy then weighs as much as the three components of one atom, per atom
    per_atom = scales.force_std_base**2 * 64 / (3.0 * scales.energy_std**2)
    assert per_atom == pytest.approx(1.0)


def test_a_tight_threshold_decides_itself():
    assert LikelihoodScales.for_threshold(0.5 * KCAL, n_atoms=9).energy_std == pytest.approx(
        0.05 * KCAL
    )


def test_a_given_std_stays():
    assert LikelihoodScales.for_threshold(30.0, energy_std=2.0, n_atoms=64).energy_std == 2.0
    with pytest.raises(ValueError, match="n_atoms"):
        LikelihoodScales.for_threshold(1.0, n_atoms=0)
