"""Read the logs of a trajectory, also while they are being written."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

__all__ = ["last_frame", "thermo_columns"]

COLUMNS = (
    "step", "time_fs", "stage", "temperature", "potential_energy", "kinetic_energy",
    "total_energy", "volume", "energy_std", "probability",
)  # fmt: skip


def thermo_columns(files: Iterable[Path], problems: list[str]) -> dict[str, np.ndarray]:
    """Return the columns of the thermodynamic tables, ordered by step.

    Of a step that is in two files, as after a kill, the later one counts. A line that is being
    written is left out.
    """
    rows: dict[int, tuple[list[float], str]] = {}
    for path in files:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                # the last line may be half written: `source` is its last column
                if row.get("source") not in ("model", "label"):
                    continue
                try:
                    values = [float(row.get(name) or "nan") for name in COLUMNS]
                    rows[int(values[0])] = (values, row["source"])
                except ValueError as error:
                    problems.append(f"a line of thermo/{path.name} could not be read: {error}")
    order = sorted(rows)
    table = np.array([rows[step][0] for step in order]).reshape(len(order), len(COLUMNS))
    columns = {name: table[:, i] for i, name in enumerate(COLUMNS)}
    columns["source"] = np.array([rows[step][1] for step in order], dtype=str)
    return columns


def last_frame(files: Iterable[Path]) -> Atoms | None:
    """Return the last whole frame of the files."""
    for path in reversed(list(files)):
        if path.stat().st_size == 0:
            continue
        for index in (-1, 0):
            try:
                atoms = ase.io.read(path, index=index, format="extxyz")
            except Exception:  # half-written frames raise errors of many kinds
                continue
            if isinstance(atoms, Atoms):
                return atoms
    return None
