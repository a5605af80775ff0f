"""A labeller that writes down each of its calculations, and what they must never repeat."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from onfly.labels.store import LabelStore

__all__ = ["FILE", "CountedEMT", "calls", "configuration", "hold", "kept", "release"]

FILE = "ONFLY_TEST_CALLS"


class CountedEMT(EMT):
    """EMT that adds a line to a file for each configuration that it has computed.

    After the calculation that `hold` names it waits for `release`.
    """

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        line = configuration(self.atoms.numbers, self.atoms.positions) + "\n"
        descriptor = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        path = Path(os.environ[FILE])
        while _held(path):
            time.sleep(0.05)


def hold(path: Path, n: int) -> None:
    """Let calculations wait before their return as soon as there are `n`."""
    _stop(path).write_text(str(n))


def release(path: Path) -> None:
    """Let all calculations return."""
    _stop(path).rename(path.with_suffix(".released"))


def _held(path: Path) -> bool:
    # asked and read at once: it may be released at any moment
    try:
        return len(calls(path)) >= int(_stop(path).read_text())
    except FileNotFoundError:
        return False


def _stop(path: Path) -> Path:
    return path.with_suffix(".hold")


def configuration(numbers, positions):
    """Return a name of a configuration."""
    rounded = np.round(np.asarray(positions, dtype=float), 6) + 0.0  # no -0.0
    content = np.asarray(numbers, dtype=np.int64).tobytes() + rounded.tobytes()
    return hashlib.sha256(content).hexdigest()


def calls(path: Path) -> list[str]:
    """Return the configurations that were computed, in order."""
    return path.read_text().split() if path.exists() else []


def kept(artifact_dir: Path) -> set[str]:
    """Return the configurations whose label is on disk."""
    store = LabelStore(artifact_dir / "labels")
    labels = map(store.get, store.keys())
    return {
        configuration(label.structure.atomic_numbers, label.structure.cart_coords)
        for label in labels
    }
