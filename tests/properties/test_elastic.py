from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from onfly.properties.elastic import Elastic
from onfly.properties.relax import relaxed
from onfly.units import GPA


def test_fcc_springs(crystal):
    found = Elastic(strain=0.004).measure(crystal.calculator, crystal.atoms)
    unit = crystal.k / crystal.a / GPA
    assert found.values["C11"] == pytest.approx(2 * unit, rel=5e-3)
    assert found.values["C12"] == pytest.approx(unit, rel=5e-3)
    assert found.values["C44"] == pytest.approx(unit, rel=5e-3)
    assert found.values["K_VRH"] == pytest.approx(4 / 3 * unit, rel=5e-3)
    tensor = found.curves["tensor"]
    assert tensor.shape == (6, 6)
    np.testing.assert_allclose(tensor, tensor.T, atol=1e-6)


def test_constants_of_a_hexagonal_crystal():
    cell = relaxed(bulk("Cu", "hcp", a=2.55, c=4.16), EMT(), fmax=1e-3)
    found = Elastic(fmax=5e-3).measure(EMT(), cell)
    assert set(found.values) == {"C11", "C12", "C13", "C33", "C44", "K_VRH", "G_VRH"}
    c66 = (found.values["C11"] - found.values["C12"]) / 2
    assert found.curves["tensor"][5, 5] == pytest.approx(c66, rel=0.02)


def test_bad_strain():
    with pytest.raises(ValueError, match="strain"):
        Elastic(strain=0.5)
