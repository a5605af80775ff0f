from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from onfly.analysis.rdf import radial_distribution


def test_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    cell = np.diag([11.0, 12.0, 13.0])
    frames = [
        Atoms("Ar200", scaled_positions=rng.random((200, 3)), cell=cell, pbc=True)
        for _ in range(15)
    ]
    result = radial_distribution(frames, r_max=7.0, n_bins=14)
    # expected pairs a bin at 3 Å are ~1e4, so 4 % is four standard errors
    assert np.abs(result.g[4:] - 199 / 200).max() < 0.04
    density = 199 / np.linalg.det(cell)
    assert result.coordination[-1] == pytest.approx(4 / 3 * np.pi * 7**3 * density, rel=0.02)


def test_fcc_shells():
    a = 4.05
    result = radial_distribution(bulk("Al", "fcc", a), r_max=7.5, n_bins=750)
    peaks = result.r[result.g > 0]
    shells = a * np.sqrt([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    assert len(peaks) == len(shells)  # 7.5 Å is just short of the 7th, at 7.58 Å
    assert peaks == pytest.approx(shells, abs=0.01)
    edges = [result.coordination[np.searchsorted(result.r, s + 0.05)] for s in shells]
    assert edges == pytest.approx(np.cumsum([12, 6, 24, 12, 24, 8]))


def test_partials_of_rock_salt():
    nacl = bulk("NaCl", "rocksalt", a=5.64)
    unlike = radial_distribution(nacl, 5.0, 500, pair=("Na", "Cl"))
    like = radial_distribution(nacl, 5.0, 500, pair=("Na", "Na"))
    assert unlike.r[unlike.g > 0][0] == pytest.approx(2.82, abs=0.01)
    assert like.r[like.g > 0][0] == pytest.approx(5.64 / np.sqrt(2), abs=0.01)
    assert unlike.coordination[300] == 6
    assert like.coordination[-1] == 12


def test_integral_of_g_is_the_coordination():
    al = bulk("Al", "fcc", 4.05).repeat(2)
    al.rattle(0.1, seed=1)
    result = radial_distribution(al, 6.0, 60)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 6, 61) ** 3)
    integral = np.cumsum(result.g * shells) * len(al) / al.get_volume()
    assert integral == pytest.approx(result.coordination)


def test_bad_input():
    with pytest.raises(ValueError, match="periodic"):
        radial_distribution(molecule("H2O"))
    with pytest.raises(ValueError, match="not in"):
        radial_distribution(bulk("Al"), pair=("Al", "O"))
    with pytest.raises(ValueError, match="no frames"):
        radial_distribution([])
