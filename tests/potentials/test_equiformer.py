from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from tests.potentials.conftest import EQUIFORMER, random_equiformer

from onfly.potentials import load_foundation
from onfly.potentials.equiformer_pairs import nearest, pair_frames, wigner_matrices
from onfly.potentials.neighbors import find_candidates, select_pairs
from onfly.potentials.precision import default_dtype

MODULE = "fairchem.core.models.equiformer_v2.equiformer_v2"
needs_package = pytest.mark.equiformer


def predict(potential, atoms, **what):
    batch = potential.collate([potential.graph(atoms)])
    return potential.evaluate(potential.parameters(), batch, **what)


def package_energy(checkpoint: dict, atoms: Atoms) -> float:
    """Evaluate fairchem's own model on its own graph, with its own random frames."""
    from fairchem.core.models.equiformer_v2 import EquiformerV2
    from torch_geometric.data import Batch, Data

    model = EquiformerV2(**checkpoint["config"]["model_attributes"]).eval()
    weights = checkpoint["state_dict"].items()
    model.load_state_dict({k.removeprefix("module.module."): t for k, t in weights})
    data = Data(
        pos=torch.as_tensor(atoms.positions).float(),
        cell=torch.as_tensor(np.array(atoms.cell)).float()[None],
        atomic_numbers=torch.as_tensor(atoms.numbers),
        natoms=torch.tensor([len(atoms)]),
        pbc=torch.tensor([[True] * 3]),
    )
    energy = model(Batch.from_data_list([data]))["energy"].item()
    return energy * checkpoint["normalizers"]["target"]["std"]


@needs_package
@pytest.mark.parametrize("norm", ["layer_norm_sh", "rms_norm_sh"])
@pytest.mark.parametrize("system", ["crystal", "water"])
def test_equals_the_package(system, norm, request, tmp_path):
    """The package evaluates in single precision only."""
    pytest.importorskip("fairchem.core")
    atoms = request.getfixturevalue(system)
    if not atoms.pbc.any():
        atoms.set_cell([30.0, 31.0, 32.0])
        atoms.pbc = True
    path = random_equiformer(tmp_path / "random.pt", norm_type=norm)
    ours = load_foundation(path, dtype=torch.float64)
    theirs = package_energy(torch.load(path, weights_only=True), atoms)
    assert predict(ours, atoms).energy.item() == pytest.approx(theirs, rel=2e-5)


@needs_package
def test_equals_the_package_with_degenerate_neighbours(tmp_path):
    """A perfect crystal without the strict limit, and all other kinds of modules."""
    from ase.build import bulk

    other = {
        "enforce_max_neighbors_strictly": False,
        "use_grid_mlp": False,
        "share_atom_edge_embedding": True,
        "max_neighbors": 10,
    }
    path = random_equiformer(tmp_path / "random.pt", **other)
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    ours = load_foundation(path, dtype=torch.float64)
    theirs = package_energy(torch.load(path, weights_only=True), atoms)
    assert predict(ours, atoms).energy.item() == pytest.approx(theirs, rel=2e-5)


@needs_package
def test_forces_need_the_derivative_of_the_frames(equiformer_file, crystal, monkeypatch):
    """Without it, as in the package, forces are wrong by much more than the contract allows."""
    import onfly.potentials.equiformer_energy as module

    potential = load_foundation(equiformer_file, dtype=torch.float64)
    right = predict(potential, crystal).forces
    monkeypatch.setattr(module, "pair_frames", lambda vectors: pair_frames(vectors.detach()))
    wrong = predict(potential, crystal).forces
    assert (wrong - right).square().mean().sqrt() > 1e-3 * right.square().mean().sqrt()


@needs_package
def test_checkpoint_of_a_model_with_several_heads(equiformer_file, crystal, tmp_path):
    """The newer form, saved from fairchem's own class, with reference energies."""
    from fairchem.core.models.base import HydraModel

    backbone = {**EQUIFORMER, "model": "equiformer_v2_backbone"}
    heads = {
        "energy": {"module": "equiformer_v2_energy_head"},
        "forces": {"module": "equiformer_v2_force_head"},
    }
    torch.manual_seed(1)
    model = HydraModel(backbone=backbone, heads=heads)
    references = torch.arange(119.0)
    checkpoint = {
        "config": {"model": {"name": "hydra", "backbone": backbone, "heads": heads}},
        "state_dict": {f"module.{key}": tensor for key, tensor in model.state_dict().items()},
        "normalizers": {"energy": {"mean": torch.tensor(0.0), "rmsd": torch.tensor(2.0)}},
        "elementrefs": {"energy": {"element_references": references}},
    }
    torch.save(checkpoint, tmp_path / "hydra.pt")
    loaded = load_foundation(tmp_path / "hydra.pt", dtype=torch.float64)
    weights = model.output_heads["energy"].energy_block.so3_linear_2.weight.double()
    assert torch.equal(loaded.parameters()["energy_head.energy_block.so3_linear_2.weight"], weights)
    checkpoint["elementrefs"] = {}
    checkpoint["normalizers"]["energy"]["rmsd"] = torch.tensor(4.0)
    torch.save(checkpoint, tmp_path / "plain.pt")
    plain = load_foundation(tmp_path / "plain.pt", dtype=torch.float64)
    shift = crystal.numbers.sum()
    expected = 0.5 * predict(plain, crystal).energy.item() + shift
    assert predict(loaded, crystal).energy.item() == pytest.approx(expected, abs=1e-10)


@needs_package
def test_moving_averages_are_preferred(equiformer_file, tmp_path):
    from fairchem.core.models.equiformer_v2 import EquiformerV2
    from fairchem.core.modules.exponential_moving_average import ExponentialMovingAverage

    checkpoint = torch.load(equiformer_file, weights_only=True)
    torch.manual_seed(5)
    averaged = EquiformerV2(**EQUIFORMER)
    checkpoint["ema"] = ExponentialMovingAverage(averaged.parameters(), 0.999).state_dict()
    torch.save(checkpoint, tmp_path / "averaged.pt")
    params = load_foundation(tmp_path / "averaged.pt").parameters()
    expected = dict(averaged.named_parameters())
    for name, tensor in params.items():
        theirs = expected[name.removeprefix("backbone.").removeprefix("energy_head.")]
        assert torch.equal(tensor, theirs), name


@needs_package
def test_another_model_is_an_error(equiformer_file, tmp_path):
    checkpoint = torch.load(equiformer_file, weights_only=True)
    checkpoint["config"]["model"] = "gemnet_oc"
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="gemnet_oc"):
        load_foundation(tmp_path / "other.pt")


@needs_package
def test_missing_weights_are_an_error(equiformer_file, tmp_path):
    checkpoint = torch.load(equiformer_file, weights_only=True)
    del checkpoint["state_dict"]["module.module.energy_block.so3_linear_2.weight"]
    torch.save(checkpoint, tmp_path / "short.pt")
    with pytest.raises(ValueError, match=r"so3_linear_2\.weight"):
        load_foundation(tmp_path / "short.pt")


@needs_package
def test_unknown_element_is_an_error(equiformer_file):
    with pytest.raises(ValueError, match="Og"):
        load_foundation(equiformer_file, elements=["Og"])


@needs_package
def test_import_leaves_no_stand_in_behind(equiformer_file):
    load_foundation(equiformer_file)
    module = sys.modules.get("torch_scatter")
    assert module is None or module.__name__ == "torch_scatter"


def test_checkpoint_is_not_unpickled(tmp_path: Path):
    """Loading a checkpoint that would run code is refused, and the code is not run."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"config": {}, "state_dict": {}, "val_metrics": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="not unpickled"):
        load_foundation({"family": "equiformer_v2", "source": tmp_path / "evil.pt"})
    assert not (tmp_path / "ran").exists()


def test_file_without_a_model_is_an_error(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "some.pt")
    with pytest.raises(ValueError, match="not a checkpoint of fairchem"):
        load_foundation({"family": "equiformer_v2", "source": tmp_path / "some.pt"})


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_foundation(tmp_path / "nothing.pt")


def test_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, MODULE, None)
    config = {"model": "equiformer_v2", "model_attributes": {}}
    torch.save({"config": config, "state_dict": {}}, tmp_path / "empty.pt")
    with pytest.raises(ImportError, match=r"onfly\[equiformer\]"):
        load_foundation(tmp_path / "empty.pt")


def test_frames_are_rotations_that_turn_the_pair_to_the_y_axis():
    vectors = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = torch.cat([vectors, torch.eye(3).double(), -torch.eye(3).double()])
    frames = pair_frames(vectors)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    up = torch.tensor([0.0, 1.0, 0.0]).double().expand_as(unit)
    torch.testing.assert_close((frames @ unit[:, :, None])[:, :, 0], up)
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).double().expand_as(frames))
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(len(vectors)).double())


@needs_package
def test_wigner_matrices_are_those_of_e3nn():
    from e3nn import o3

    degrees = range(2, 7)
    couplings = [o3.wigner_3j(n - 1, 1, n, dtype=torch.float64) for n in degrees]
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    frames = pair_frames(vectors)
    ours = wigner_matrices(frames, couplings)
    with default_dtype(torch.float64):  # in which e3nn makes its generators
        theirs = o3.Irreps([(1, (n, 1)) for n in range(7)]).D_from_matrix(frames)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("strict", "counts"), [(True, {10}), (False, {18})])
def test_nearest_neighbours(strict, counts):
    """Rock salt has 6 + 12 neighbours in two shells: the limit of 10 falls into the second."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    pairs = select_pairs(find_candidates(atoms, 8.0), atoms, 8.0)
    kept = nearest(pairs, 10, strict)
    assert (np.diff(kept) > 0).all()
    assert set(np.bincount(pairs.center[kept]).tolist()) == counts
    distance = np.linalg.norm(pairs.vectors[kept], axis=1)
    assert distance.max() == pytest.approx(5.64 / np.sqrt(2))


def test_no_limit_is_reached_by_few_neighbours():
    atoms = Atoms("H3", positions=[[0, 0, 0], [0, 0, 1], [0, 0, 3]])
    pairs = select_pairs(find_candidates(atoms, 2.5), atoms, 2.5)
    assert nearest(pairs, 20, strict=True).tolist() == [0, 1, 2, 3]
    assert nearest(pairs, 20, strict=False).tolist() == [0, 1, 2, 3]
