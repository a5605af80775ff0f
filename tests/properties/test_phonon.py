from __future__ import annotations

import sys

import numpy as np
import pytest

from onfly.properties.phonon import Phonons

pytest.importorskip("phonopy")


def test_fcc_springs(crystal):
    found = Phonons(min_length=5.0, displacement=0.005).measure(crystal.calculator, crystal.atoms)
    assert found.values["X highest"] == pytest.approx(crystal.frequency(8), rel=2e-3)
    assert found.values["X lowest"] == pytest.approx(crystal.frequency(4), rel=2e-3)
    assert "Γ highest" not in found.values  # one atom has no optical branch
    # K and U are one point
    points = {name.split()[0] for name in found.values} - {"mean"}
    assert points == {"K", "L", "W", "X"}
    bands, path = found.curves["bands"], found.curves["path"]
    assert bands.shape == (len(path), 3)
    assert np.abs(bands[0]).max() < 0.05  # the path begins at Γ
    assert bands.min() > -0.05


def test_an_unstable_crystal_has_imaginary_frequencies(crystal):
    atoms = crystal.atoms
    atoms.set_cell(atoms.cell.array * 1.19, scale_atoms=True)  # beyond the turning point of a pair
    found = Phonons(min_length=5.0).measure(crystal.calculator, atoms)
    assert min(found.values.values()) < -0.5


def test_too_little_symmetry(crystal, monkeypatch):
    monkeypatch.setattr("onfly.properties.phonon.MAX_DISPLACEMENTS", 3)
    atoms = crystal.atoms.repeat(2)
    atoms.rattle(0.05, seed=1)
    with pytest.raises(ValueError, match="too little symmetry"):
        Phonons(min_length=2.0).measure(crystal.calculator, atoms)


def test_without_phonopy(crystal, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(ImportError, match=r"onfly\[properties\]"):
        Phonons().measure(crystal.calculator, crystal.atoms)


def test_bad_settings():
    with pytest.raises(ValueError, match="displacement"):
        Phonons(displacement=0.0)
