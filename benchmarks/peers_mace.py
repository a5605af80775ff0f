"""A training set fitted by the MACE package's own program, as a calculator."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from common import cpu_timer
from forces import isolated_atoms, mace_command

from onfly.potentials import Potential
from onfly.schemas import LabelDoc, to_atoms

__all__ = ["fine_tuned"]

VALID_SHARE = 0.1


def fine_tuned(
    potential: Potential,
    labels: Sequence[LabelDoc],
    folder: Path,
    epochs: int,
    seed: int,
    *,
    foundation: str,
    offset: float,
) -> tuple[Calculator, float]:
    """Fine-tune by `mace_run_train`, and return the calculator and the CPU seconds.

    Parameters
    ----------
    potential
        The student, whose isolated atoms are shifted so that it agrees with the first label.
    labels
        A tenth of them, one at least, is the validation set, whose loss chooses the epoch.
    folder
        Where it works.
    foundation
        Path of the student.
    offset
        Energy of the student minus that of the first label, eV.

    Raises
    ------
    RuntimeError
        If the program fails, with the end of what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for label in labels:
        plain = to_atoms(label.structure)
        atoms = Atoms(plain.numbers, plain.positions, cell=plain.cell.array, pbc=plain.pbc)
        atoms.info["REF_energy"] = label.energy
        atoms.arrays["REF_forces"] = np.array(label.forces)
        frames.append(atoms)
    n_valid = max(1, round(VALID_SHARE * len(frames)))
    n_train = len(frames) - n_valid
    if n_train < 1:
        raise RuntimeError(f"{len(frames)} labels are too few for a training and a validation set")
    # spread over the trajectory that they were drawn from
    chosen = set(np.linspace(0, len(frames) - 1, n_valid + 2)[1:-1].round().astype(int).tolist())
    parts = {"train": [], "valid": []}
    for number, atoms in enumerate(frames):
        parts["valid" if number in chosen else "train"].append(atoms)
    for name, part in parts.items():
        ase.io.write(folder / f"{name}.xyz", part, format="extxyz")
    elements = sorted({int(z) for z in frames[0].numbers})
    energies = isolated_atoms(potential, elements, offset / len(frames[0]))
    references = dict(zip(elements, map(float, energies), strict=True))
    command = mace_command(
        folder, foundation, references, min(5, len(parts["train"])), epochs, seed
    )
    record: dict[str, float] = {}
    with cpu_timer(record, "cpu"):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    models = sorted(folder.glob("*.model"), key=lambda path: "compiled" in path.name)
    if done.returncode or not models:
        raise RuntimeError(f"mace_run_train failed: {done.stderr[-2000:]}")
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(models[0]), device="cpu", default_dtype="float64")
    return calculator, record["cpu"]
