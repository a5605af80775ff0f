"""Every installed family of potentials in double precision, and configurations to try them on."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from onfly.potentials import Potential, load_foundation

sys.path.insert(0, str(Path(__file__).parent))  # for derivative_checks.py
from onfly.testing.models import random_mace

NEEDS = {
    "toy": "torch",
    "chgnet": "chgnet",
    "mace": "mace",
    "sevennet": "sevenn",
    "nequip": "nequip",
    "equiformer_v2": "fairchem",
}
MARKS = {
    "sevennet": pytest.mark.nequip,
    "nequip": pytest.mark.nequip,
    "equiformer_v2": pytest.mark.equiformer,
}


@pytest.fixture(scope="session")
def mace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mace", exc_type=ImportError)
    return random_mace(tmp_path_factory.mktemp("mace") / "random.model")


NEQUIP_TRAINING = """
run: [train]
types: [H, O, Na, Cl]
data:
  _target_: nequip.data.datamodule.ASEDataModule
  seed: 0
  train_file_path: ${oc.env:ONFLY_TEST_FRAMES}
  val_file_path: ${oc.env:ONFLY_TEST_FRAMES}
  transforms:
    - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
      model_type_names: ${types}
    - {_target_: nequip.data.transforms.NeighborListTransform, r_max: 4.5}
  train_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 2}
  val_dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 2}
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  max_steps: 1
  logger: false
  enable_progress_bar: false
  callbacks:
    - _target_: lightning.pytorch.callbacks.ModelCheckpoint
      dirpath: ${hydra:runtime.output_dir}
      save_last: true
training_module:
  _target_: nequip.train.EMALightningModule
  loss:
    _target_: nequip.train.EnergyForceLoss
    coeffs: {total_energy: 1.0, forces: 1.0}
  val_metrics:
    _target_: nequip.train.EnergyForceMetrics
    coeffs: {total_energy_mae: 1.0, forces_mae: 1.0}
  optimizer: {_target_: torch.optim.Adam, lr: 0.001}
  model:
    _target_: nequip.model.NequIPGNNModel
    seed: 0
    model_dtype: float64
    type_names: ${types}
    r_max: 4.5
    num_layers: 2
    l_max: 1
    num_features: 8
    radial_mlp_width: 16
    avg_num_neighbors: 10.0
    per_type_energy_shifts: {H: -1.0, O: -4.0, Na: -2.0, Cl: -3.0}
global_options: {allow_tf32: false}
"""


def random_nequip(folder: Path) -> Path:
    """Train a tiny NequIP model for one step with nequip's own commands, and package it."""
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(4):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal(), forces=rng.normal(size=(len(atoms), 3))
        )
        frames.append(atoms)
    write(folder / "frames.extxyz", frames)
    (folder / "tiny.yaml").write_text(NEQUIP_TRAINING)
    commands = Path(sys.executable).parent
    env = {**os.environ, "ONFLY_TEST_FRAMES": str(folder / "frames.extxyz")}
    package = folder / "random.nequip.zip"
    for command in (
        ["nequip-train", "-cp", str(folder), "-cn", "tiny", f"hydra.run.dir={folder}/run"],
        ["nequip-package", "build", str(folder / "run" / "last.ckpt"), str(package)],
    ):
        done = subprocess.run(
            [str(commands / command[0]), *command[1:]],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return package


@pytest.fixture(scope="session")
def nequip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nequip")
    return random_nequip(tmp_path_factory.mktemp("nequip"))


# Kinds of modules, cutoff, neighbours and grid as in the model published for OC20, but small.
EQUIFORMER = {
    "use_pbc": True,
    "regress_forces": True,
    "max_neighbors": 20,
    "max_radius": 12.0,
    "max_num_elements": 90,
    "num_layers": 2,
    "sphere_channels": 8,
    "attn_hidden_channels": 8,
    "num_heads": 2,
    "attn_alpha_channels": 4,
    "attn_value_channels": 4,
    "ffn_hidden_channels": 8,
    "norm_type": "layer_norm_sh",
    "lmax_list": [3],
    "mmax_list": [2],
    "grid_resolution": 18,
    "edge_channels": 8,
    "attn_activation": "silu",
    "ffn_activation": "silu",
    "use_grid_mlp": True,
    "alpha_drop": 0.1,
    "drop_path_rate": 0.1,
    "weight_init": "uniform",
}


def random_equiformer(path: Path, **settings: object) -> Path:
    """Write a checkpoint with random weights in the form of those for OC20."""
    from onfly.potentials.equiformer_loading import import_classes

    import_classes()
    from fairchem.core.models.equiformer_v2 import EquiformerV2

    torch.manual_seed(0)
    attributes = {**EQUIFORMER, **settings}
    model = EquiformerV2(**attributes)
    checkpoint = {
        "config": {"model": "equiformer_v2", "model_attributes": attributes},
        "state_dict": {f"module.module.{key}": t for key, t in model.state_dict().items()},
        # Larger than for OC20, because random weights give small forces.
        "normalizers": {"target": {"mean": -0.75, "std": 50.0}},
    }
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="session")
def equiformer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("fairchem")
    return random_equiformer(tmp_path_factory.mktemp("equiformer") / "random.pt")


@pytest.fixture(scope="session")
def load(request: pytest.FixtureRequest):
    """Return a function that loads a family once."""

    @cache
    def one(family: str) -> Potential:
        if find_spec(NEEDS[family]) is None:
            pytest.skip(f"{NEEDS[family]} is not installed")
        names = {"toy": "toy", "chgnet": "chgnet-0.3.0", "sevennet": "sevennet-0"}
        if family == "mace":
            name = str(request.getfixturevalue("mace_file"))
        elif family == "nequip":
            name = str(request.getfixturevalue("nequip_file"))
        elif family == "equiformer_v2":
            name = str(request.getfixturevalue("equiformer_file"))
        else:
            name = names[family]
        options = {"trust_pickle": True} if family in ("mace", "nequip") else {}
        source = {"family": family, "source": name, "options": options}
        return load_foundation(source, dtype=torch.float64)

    return one


@pytest.fixture(params=[pytest.param(f, marks=MARKS.get(f, ())) for f in NEEDS])
def potential(request: pytest.FixtureRequest, load) -> Potential:
    return load(request.param)


@pytest.fixture
def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture
def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=2)
    return atoms
