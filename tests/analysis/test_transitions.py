from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from onfly.analysis.transitions import (
    coordinate_series,
    dihedral,
    find_transitions,
    state_series,
)

CORES = {"trans": (150, 210), "gauche+": (30, 90), "gauche-": (270, 330)}


def test_transitions_need_the_other_core():
    values = [180, 200, 220, 240, 205, 230, 265, 275, 280, 265, 272]
    found = find_transitions(values, CORES, period=360)
    assert [(t.frame, t.left, t.origin, t.target) for t in found] == [(7, 4, "trans", "gauche-")]


def test_core_over_the_seam():
    cores = {"eclipsed": (330, 30), "opposite": (150, 210)}
    states = state_series([100, -10, 350, 20, 100, 180, 260, 5], cores, period=360)
    assert states == [None] + ["eclipsed"] * 4 + ["opposite"] * 2 + ["eclipsed"]
    found = find_transitions([100, -10, 350, 20, 100, 180, 260, 5], cores, period=360)
    assert [(t.frame, t.left) for t in found] == [(5, 3), (7, 5)]


def test_dihedral_of_a_turned_molecule():
    ethanol = molecule("CH3CH2OH")
    symbols = ethanol.get_chemical_symbols()
    h = next(i for i, s in enumerate(symbols) if s == "H" and ethanol.get_distance(i, 2) < 1.1)
    chain = (1, 0, 2, h) if ethanol.get_distance(0, 2) < 1.6 else (0, 1, 2, h)
    frames = []
    for angle in (180, 60, 300):
        turned = ethanol.copy()
        turned.set_dihedral(*chain, angle, indices=[h])
        frames.append(turned)
    assert coordinate_series(frames, dihedral(*chain)) == pytest.approx([180, 60, 300])
    states = state_series(coordinate_series(frames, dihedral(*chain)), CORES, 360)
    assert states == ["trans", "gauche+", "gauche-"]


def test_noise_on_a_barrier_does_not_count():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(50, 0.0), 0.5 + 0.05 * rng.normal(size=500), np.full(50, 1.0)])
    assert len(find_transitions(values, {"left": (-1, 0.2), "right": (0.8, 2)})) == 1


def test_bad_cores():
    with pytest.raises(ValueError, match="overlap"):
        state_series([0.5], {"a": (0, 1), "b": (0.2, 2)})
    with pytest.raises(ValueError, match="period"):
        state_series([0.5], {"a": (1, 0)})
    with pytest.raises(ValueError, match="no cores"):
        state_series([0.5], {})
