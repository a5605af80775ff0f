"""Every installed family of potentials in double precision, and configurations to try them on."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from onfly.potentials import Potential, load_foundation

NEEDS = {
    "toy": "torch",
    "chgnet": "chgnet",
    "mace": "mace",
    "sevennet": "sevenn",
    "nequip": "nequip",
}
MARKS = {"sevennet": pytest.mark.nequip, "nequip": pytest.mark.nequip}


def random_mace(path: Path, dtype: torch.dtype = torch.float64) -> Path:
    """Write a MACE model with random weights, small enough to be built in a second."""
    from onfly.potentials.mace_loading import import_mace
    from onfly.potentials.mace_pruning import default_dtype

    modules = import_mace()
    from e3nn import o3

    torch.manual_seed(0)
    with default_dtype(dtype):
        model = modules.ScaleShiftMACE(
            r_max=4.5,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes[
                "RealAgnosticResidualInteractionBlock"
            ],
            num_interactions=2,
            num_elements=5,
            hidden_irreps=o3.Irreps("8x0e + 8x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.array([-1.0, -5.0, -4.0, -2.0, -3.0]),
            avg_num_neighbors=8.0,
            atomic_numbers=[1, 6, 8, 11, 17],
            correlation=3,
            atomic_inter_scale=0.8,
            atomic_inter_shift=0.1,
            radial_MLP=[16, 16],
        )
    torch.save(model, path)
    return path


@pytest.fixture(scope="session")
def mace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mace", exc_type=ImportError)
    return random_mace(tmp_path_factory.mktemp("mace") / "random.model")


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
        else:
            name = names[family]
        return load_foundation(name, dtype=torch.float64)

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
