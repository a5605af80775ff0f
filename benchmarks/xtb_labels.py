"""Labels of displaced crystals by GFN1-xTB, as data for `posteriors.py`.

    python benchmarks/xtb_labels.py nacl.extxyz

Rock salt, strained and displaced at random. It is small and a label takes half a second, so that
settings of foundation models can be compared where no published data set is small enough.

"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from tblite.ase import TBLite


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--amplitude", type=float, default=0.15, help="std of displacements, Å")
    parser.add_argument("--strain", type=float, default=0.01, help="std of a strain component")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    frames = []
    for _ in range(args.count):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + args.strain * rng.normal(size=(3, 3))), True)
        atoms.positions += args.amplitude * rng.normal(size=atoms.positions.shape)
        atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(args.path, frames)


if __name__ == "__main__":
    main()
