from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from onfly.potentials import load_foundation
from onfly.potentials.precision import default_dtype

pytestmark = pytest.mark.nequip


def trusted(path):
    return {"family": "nequip", "source": path, "options": {"trust_pickle": True}}


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_equals_the_package(nequip_file, system, request):
    """Compare with the model's own forces and stress, from positions and strain."""
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import ModelFromPackage

    atoms = request.getfixturevalue(system)
    ours = load_foundation(trusted(nequip_file))
    result = ours.evaluate(ours.parameters(), ours.collate([ours.graph(atoms)]), stress=True)
    model = ModelFromPackage(str(nequip_file))
    model = next(iter(model.values())) if hasattr(model, "keys") else model
    with default_dtype(torch.float64):  # in which nequip would read the positions
        data = from_ase(atoms)
        data = ChemicalSpeciesToAtomTypeMapper(model_type_names=list(ours.elements))(data)
        data = NeighborListTransform(r_max=4.5)(data)
        theirs = model.eval()(data)
    energy = theirs[AtomicDataDict.TOTAL_ENERGY_KEY].item()
    assert result.energy.item() == pytest.approx(energy, abs=1e-8)
    forces = theirs[AtomicDataDict.FORCE_KEY].detach()
    np.testing.assert_allclose(result.forces, forces, atol=1e-8)
    if atoms.pbc.all():
        stress = theirs[AtomicDataDict.STRESS_KEY][0].detach()
        np.testing.assert_allclose(result.stress[0], stress, atol=1e-9)


def test_loading_does_not_change_the_default_precision(nequip_file):
    before = torch.get_default_dtype()
    load_foundation(trusted(nequip_file))
    assert torch.get_default_dtype() == before


def test_another_precision_is_an_error(nequip_file):
    with pytest.raises(ValueError, match="float64"):
        load_foundation(trusted(nequip_file), dtype=torch.float32)


def test_unknown_element_is_an_error(nequip_file):
    with pytest.raises(ValueError, match="Si"):
        load_foundation(trusted(nequip_file), elements=["Si"])


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_foundation(tmp_path / "nothing.nequip.zip")


def test_missing_package_names_the_extra(monkeypatch, tmp_path):
    path = tmp_path / "empty.nequip.zip"
    path.touch()
    monkeypatch.setitem(sys.modules, "nequip.model", None)
    trusted = {"family": "nequip", "source": str(path), "options": {"trust_pickle": True}}
    with pytest.raises(ImportError, match=r"onfly\[nequip\]"):
        load_foundation(trusted)
