from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from onfly.potentials import load_foundation
from onfly.potentials.mace_loading import checkpoint_path
from onfly.potentials.mace_package import UNSAFE_SWITCH
from onfly.testing.models import random_mace

pytest.importorskip("mace", exc_type=ImportError)


def trusted(path, **options):
    return {"family": "mace", "source": path, "options": {"trust_pickle": True, **options}}


@pytest.fixture
def full(mace_file):
    return load_foundation(trusted(mace_file), dtype=torch.float64)


@pytest.mark.parametrize("system", ["crystal", "water"])
def test_equals_the_package(full, mace_file, system, request):
    from mace.calculators import MACECalculator

    atoms = request.getfixturevalue(system)
    model = torch.load(mace_file, weights_only=False)
    atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    batch = full.collate([full.graph(atoms)])
    result = full.evaluate(full.parameters(), batch, stress=True)
    assert result.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(result.stress[0], atoms.get_stress(voigt=False), atol=1e-10)
    descriptors = atoms.calc.get_descriptors(atoms, invariants_only=True)
    np.testing.assert_allclose(result.features, descriptors, atol=1e-9)


@pytest.mark.parametrize(
    ("block", "options"),
    [
        ("RealAgnosticInteractionBlock", {"distance_transform": "Agnesi"}),
        ("RealAgnosticDensityResidualInteractionBlock", {"pair_repulsion": True}),
        ("RealAgnosticDensityInteractionBlock", {"distance_transform": "Soft"}),
    ],
)
def test_other_blocks_equal_the_package(tmp_path, crystal, block, options):
    """Blocks of the later foundation models, which need each pair's rows at both of its ends."""
    from mace.calculators import MACECalculator

    path = random_mace(tmp_path / "other.model", block=block, **options)
    own = load_foundation(trusted(path))
    crystal.calc = MACECalculator(
        models=[torch.load(path, weights_only=False)], device="cpu", default_dtype="float64"
    )
    result = own.evaluate(own.parameters(), own.collate([own.graph(crystal)]), stress=True)
    assert result.energy.item() == pytest.approx(crystal.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(result.forces, crystal.get_forces(), atol=1e-9)
    np.testing.assert_allclose(result.stress[0], crystal.get_stress(voigt=False), atol=1e-10)


def test_pruning_is_exact(full, mace_file, crystal):
    pruned = load_foundation(trusted(mace_file), elements=["Cl", "Na"], dtype=torch.float64)
    assert pruned.elements == ("Na", "Cl")
    one, other = (
        p.evaluate(p.parameters(), p.collate([p.graph(crystal)]), stress=True)
        for p in (full, pruned)
    )
    assert other.energy.item() == pytest.approx(one.energy.item(), abs=1e-10)
    torch.testing.assert_close(other.forces, one.forces, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.stress, one.stress, atol=1e-11, rtol=0)
    torch.testing.assert_close(other.features, one.features, atol=1e-10, rtol=0)
    n_full, n_pruned = (sum(t.numel() for t in p.parameters().values()) for p in (full, pruned))
    assert n_pruned < 0.8 * n_full


def test_pruning_in_single_precision(mace_file, crystal):
    full, pruned = (
        load_foundation(trusted(mace_file), elements=elements, dtype=torch.float32)
        for elements in (None, ["Na", "Cl"])
    )
    one, other = (p.evaluate(p.parameters(), p.collate([p.graph(crystal)])) for p in (full, pruned))
    # The limits for a full and a pruned model.
    assert other.energy.item() == pytest.approx(one.energy.item(), abs=1e-5)
    torch.testing.assert_close(other.forces, one.forces, atol=1e-5, rtol=0)


def test_prior_scale_is_the_factor_of_the_rescaled_weights(full, mace_file):
    """A step of the same size in units of the prior changes both models' energies equally."""
    pruned = load_foundation(trusted(mace_file), elements=["Na", "Cl"], dtype=torch.float64)
    scale = pruned.prior_scale()
    assert set(scale) == {
        "node_embedding.linear.weight",
        "interactions.0.skip_tp.weight",
        "interactions.1.skip_tp.weight",
    }
    assert set(scale.values()) == {(2 / 5) ** 0.5}
    name = "node_embedding.linear.weight"
    big, small = full.parameters()[name], pruned.parameters()[name]
    sodium = full.elements.index("Na")
    torch.testing.assert_close(small[:8], big.view(5, 8)[sodium] * scale[name])


def test_pruning_leaves_the_full_model_alone(full, mace_file):
    before = full.parameters()
    load_foundation(trusted(mace_file), elements=["H"])
    after = load_foundation(trusted(mace_file), dtype=torch.float64).parameters()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_digest_of_the_file_is_recorded(full, mace_file):
    assert full.sha256 == hashlib.sha256(mace_file.read_bytes()).hexdigest()


@pytest.mark.slow  # tests/potentials/test_trust.py asks a process that loads a model the same
def test_import_leaves_the_protection_against_unpickling_on():
    env = {k: v for k, v in os.environ.items() if k != UNSAFE_SWITCH}
    code = (
        "import os; from onfly.potentials.mace_package import import_mace; import_mace(); "
        f"assert {UNSAFE_SWITCH!r} not in os.environ"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


@pytest.mark.parametrize("before", [None, "0"])
def test_loading_leaves_the_protection_against_unpickling_on(monkeypatch, mace_file, before):
    if before is None:
        monkeypatch.delenv(UNSAFE_SWITCH, raising=False)
    else:
        monkeypatch.setenv(UNSAFE_SWITCH, before)
    load_foundation(trusted(mace_file))
    with pytest.raises(ValueError, match="knows no model"):
        checkpoint_path("mace-mp-nonsense")
    assert os.environ.get(UNSAFE_SWITCH) == before


def test_missing_package_names_the_extra(monkeypatch, mace_file):
    monkeypatch.setitem(sys.modules, "mace.modules", None)
    with pytest.raises(ImportError, match=r"onfly\[mace\]"):
        load_foundation(trusted(mace_file))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.model"):
        load_foundation(tmp_path / "nothing.model")


def test_other_file_is_an_error(tmp_path):
    path = tmp_path / "other.model"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="not a MACE model file"):
        load_foundation(trusted(path))
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="not a MACE energy model"):
        load_foundation(trusted(path))


def test_unknown_element_is_an_error(mace_file):
    with pytest.raises(ValueError, match="Si"):
        load_foundation(trusted(mace_file), elements=["Si"])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="mace-off-small"):
        checkpoint_path("mace-off-tiny")


def test_names_are_passed_on_to_mace(monkeypatch, tmp_path):
    """Names mean what `mace_mp` and `mace_off` take; downloads are mace's own."""
    from mace.calculators import foundations_models as foundations

    asked = []
    target = tmp_path / "MACE-OFF23_small.model"
    monkeypatch.setattr(foundations, "get_cache_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        foundations,
        "download_mace_mp_checkpoint",
        lambda model: asked.append(model) or str(tmp_path / "mp.model"),
    )
    monkeypatch.setattr(foundations, "mace_off", lambda model, **_: asked.append(model))
    assert checkpoint_path("mace-mp-medium") == tmp_path / "mp.model"
    assert checkpoint_path("mace-mp-medium-mpa-0") == tmp_path / "mp.model"
    assert checkpoint_path("mace-mpa-medium") == tmp_path / "mp.model"
    assert checkpoint_path("mace-off-small") == target
    assert asked == ["medium", "medium-mpa-0", "medium-mpa-0", "small"]
