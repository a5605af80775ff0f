from __future__ import annotations

import sys

import numpy as np
import pytest
from ase.units import GPa

from onfly.potentials import load_foundation

pytestmark = pytest.mark.nequip


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_equals_the_package(system, request):
    pytest.importorskip("sevenn")
    from sevenn.calculator import SevenNetCalculator

    atoms = request.getfixturevalue(system)
    ours = load_foundation("sevennet-0")
    result = ours.evaluate(ours.parameters(), ours.collate([ours.graph(atoms)]), stress=True)
    atoms.calc = SevenNetCalculator("7net-0", device="cpu")
    assert result.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=2e-5)
    np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=2e-5)
    if atoms.pbc.all():
        expected = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(result.stress[0] / GPa, expected / GPa, atol=1e-4)


def test_missing_file_is_an_error(tmp_path):
    pytest.importorskip("sevenn")
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_foundation(tmp_path / "nothing.pth")


def test_unknown_element_is_an_error():
    pytest.importorskip("sevenn")
    with pytest.raises(ValueError, match="Og"):
        load_foundation("sevennet-0", elements=["Og"])


def test_missing_package_names_the_extra(monkeypatch):
    for name in ("sevenn", "sevenn.util"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"onfly\[nequip\]"):
        load_foundation("sevennet-0")
