from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.units import GPa

from onfly.potentials import load_foundation

pytest.importorskip("chgnet")


@pytest.fixture(scope="module", params=["chgnet-0.3.0", "chgnet-r2scan"])
def both(request):
    from chgnet.model import CHGNet

    version = request.param.removeprefix("chgnet-")
    return load_foundation(request.param), CHGNet.load(model_name=version, use_device="cpu")


def boxed_ethanol():
    atoms = molecule("CH3CH2OH")
    atoms.set_cell([20.0] * 3)
    atoms.pbc = True
    return atoms


def rattled(name: str, **cell):
    atoms = bulk(name, **cell)
    atoms.rattle(0.08, seed=4)
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [
        rattled("NaCl", crystalstructure="rocksalt", a=5.64, cubic=True),
        rattled("Si"),
        rattled("Cu"),
        boxed_ethanol(),
    ],
    ids=["NaCl", "Si2", "Cu1", "ethanol"],
)
def test_equals_the_package(both, atoms):
    ours, theirs = both
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(atoms)
    expected = theirs.predict_structure(structure, return_atom_feas=True)
    batch = ours.collate([ours.graph(atoms)])
    result = ours.evaluate(ours.parameters(), batch, stress=True)
    assert result.energy.item() == pytest.approx(expected["e"] * len(atoms), abs=2e-5)
    np.testing.assert_allclose(result.forces, expected["f"], atol=5e-5)
    # The package rounds positions and cells to single precision first.
    np.testing.assert_allclose(result.stress[0] / GPa, expected["s"], atol=1e-3)
    np.testing.assert_allclose(result.features, expected["atom_fea"], atol=1e-4)


def test_fewer_elements_change_nothing():
    atoms = rattled("NaCl", crystalstructure="rocksalt", a=5.64, cubic=True)
    full = load_foundation("chgnet", dtype=torch.float64)
    pruned = load_foundation("chgnet", elements=["Cl", "Na"], dtype=torch.float64)
    one, other = (p.evaluate(p.parameters(), p.collate([p.graph(atoms)])) for p in (full, pruned))
    assert torch.equal(one.energy, other.energy)
    assert torch.equal(one.forces, other.forces)
    embedding = "atom_embedding.embedding.weight"
    assert pruned.parameters()[embedding].shape == (2, 64)
    assert pruned.prior_scale() == {}
    with pytest.raises(ValueError, match=r"without the element.*Si"):
        pruned.graph(bulk("Si"))


def test_unknown_element_is_an_error():
    with pytest.raises(ValueError, match="Og"):
        load_foundation("chgnet", elements=["Na", "Og"])


def test_loading_prints_nothing(capsys):
    load_foundation("chgnet-r2scan")
    assert capsys.readouterr() == ("", "")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("onfly.potentials.chgnet.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onfly\[chgnet\]"):
        load_foundation("chgnet")


def test_module_import_does_not_import_the_package():
    import subprocess

    code = "import onfly.potentials.chgnet, sys; assert 'chgnet' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
