from __future__ import annotations

import pytest

from onfly.properties.eos import EquationOfStateFit
from onfly.units import GPA


def test_fcc_springs(crystal):
    found = EquationOfStateFit(span=0.03).measure(crystal.calculator, crystal.atoms)
    assert found.values["V0"] == pytest.approx(crystal.a**3 / 4, rel=1e-4)
    assert found.values["E0"] == pytest.approx(-6 * crystal.epsilon, abs=1e-4)
    assert found.values["B0"] == pytest.approx(4 * crystal.k / (3 * crystal.a) / GPA, rel=0.01)
    assert found.curves["volume"].shape == found.curves["energy"].shape == (7,)


def test_a_minimum_outside_the_volumes_is_refused(crystal):
    atoms = crystal.atoms
    atoms.set_cell(atoms.cell.array * 1.05, scale_atoms=True)
    with pytest.raises(ValueError, match="outside the volumes"):
        EquationOfStateFit(span=0.02).measure(crystal.calculator, atoms)


@pytest.mark.parametrize("settings", [{"n_volumes": 4}, {"span": 0.0}, {"span": 0.5}])
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        EquationOfStateFit(**settings)


def test_units():
    assert EquationOfStateFit().unit("B0") == "GPa"
