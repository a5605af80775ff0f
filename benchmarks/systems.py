"""Systems and models that the speed benchmarks share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.spacegroup import crystal
from common import median, seconds

SYSTEMS = ("lamno3", "ethanol", "si64")

# The hyper-parameters of MACE-MP-0 medium, and a small model of the same family.
MACE_SIZES = {
    "mace-medium": {"channels": 128, "r_max": 6.0, "num_bessel": 10, "max_ell": 3},
    "mace-small": {"channels": 16, "r_max": 5.0, "num_bessel": 8, "max_ell": 2},
}


def system(name: str, seed: int = 0) -> Atoms:
    """Return one of the test systems, displaced at random by 0.03 Å."""
    if name == "lamno3":
        atoms = crystal(
            ["La", "Mn", "O", "O"],
            basis=[
                (0.549, 0.25, 0.01),
                (0.0, 0.0, 0.0),
                (-0.014, 0.25, -0.07),
                (0.309, 0.039, 0.224),
            ],
            spacegroup=62,
            cellpar=[5.742, 7.668, 5.532, 90, 90, 90],
        )
        assert len(atoms) == 20
    elif name == "ethanol":
        atoms = molecule("CH3CH2OH")
    else:
        atoms = bulk("Si", cubic=True) * (2, 2, 2)
    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
    plain.rattle(0.03, seed=seed)
    return plain


def random_mace(size: str, folder: Path) -> Path:
    """Write a MACE model with random weights for the 89 elements of MACE-MP-0, and return its path.

    A file that is there is used again: building the medium model takes a while.
    """
    from onfly.potentials.mace_package import import_mace
    from onfly.potentials.precision import default_dtype

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{size}.model"
    if path.exists():
        return path
    modules = import_mace()
    from e3nn import o3  # after mace: see `import_mace`

    options = dict(MACE_SIZES[size])
    channels = options.pop("channels")
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    torch.manual_seed(0)
    with default_dtype(torch.float32):
        model = modules.ScaleShiftMACE(
            **options,
            num_polynomial_cutoff=5,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=89,
            hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(89),
            avg_num_neighbors=30.0,
            atomic_numbers=[*range(1, 84), *range(89, 95)],
            correlation=3,
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    torch.save(model, path)
    return path


def foundation_path(model: str, folder: Path) -> str:
    """Return what `load_foundation` takes for a model of these benchmarks."""
    return str(random_mace(model, folder)) if model in MACE_SIZES else model


def trusted(path: str) -> str | dict:
    """Return a foundation as `load_foundation` takes it; random models are pickles of our own."""
    if Path(path).stem not in MACE_SIZES:
        return path
    return {"family": "mace", "source": path, "options": {"trust_pickle": True}}


def interleaved(
    runs: dict[str, Callable[[], object]], repeats: int, budget: float, device: str = "cpu"
) -> dict[str, float]:
    """Return the median seconds of each, run in turn so that all see the same machine.

    CPU seconds, or those of the wall on a GPU. The rounds end early when they have taken `budget`
    seconds. The first round warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    begin = seconds(device)
    for number in range(repeats + 1):
        for name, run in runs.items():
            start = seconds(device)
            run()
            if number > 0:
                found[name].append(seconds(device) - start)
        if number > 0 and seconds(device) - begin > budget:
            break
    return {name: median(values) for name, values in found.items()}


def one_thread() -> None:
    """One thread and memory that is kept, as in a run, for all that is compared."""
    from onfly.potentials.execution import keep_freed_memory

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()
    torch.set_num_threads(1)
