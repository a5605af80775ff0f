"""Forces that are exact where a label is known: the model's, shifted by its error there.

The shift is constant, so that a relaxation goes on with the curvature of the model and the
gradient of the label. It ends at a stationary point of the labeller although the model's forces
keep a small error, and needs few labels for that: first-order model management, Alexandrov et al.,
J. Aircraft 38, 1093 (2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from onfly.dynamics.calculator import DriverCalculator
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.state import MDState

__all__ = ["CorrectedCalculator", "Shift", "anchor_arrays", "anchored", "shift_of"]

_PREFIX = "anchor."


@dataclass(frozen=True)
class Shift:
    """What is added to the model's forces (eV/Å, shape (N, 3)) and stress (eV/Å³, (3, 3))."""

    forces: np.ndarray
    stress: np.ndarray | None = None


def anchored(state: MDState) -> MDState:
    """Return a state whose results are a label's, with that label as anchor of what follows."""
    arrays = {"positions": state.positions, "cell": state.cell, "forces": state.forces}
    if state.stress is not None:
        arrays["stress"] = state.stress
    kept = {f"{_PREFIX}{name}": np.array(value) for name, value in arrays.items()}
    return replace(state, integrator=kept)


def anchor_arrays(state: MDState) -> dict[str, np.ndarray]:
    """Return the part of a state's variables that is the anchor."""
    return {k: v for k, v in state.integrator.items() if k.startswith(_PREFIX)}


def shift_of(
    predictor: Predictor, state: MDState, arrays: Mapping[str, np.ndarray], *, stress: bool
) -> Shift | None:
    """Return the error of the model's forces at the anchor, with the sign of a correction.

    Parameters
    ----------
    predictor
        The model of the present round.
    state
        Says which atoms there are.
    arrays
        `anchor_arrays`; empty for no correction.
    stress
        Whether the stress is corrected as well.
    """
    if not arrays:
        return None
    atoms = Atoms(
        numbers=state.numbers,
        positions=arrays[f"{_PREFIX}positions"],
        cell=arrays[f"{_PREFIX}cell"],
        pbc=state.pbc,
    )
    found = predictor.predict(atoms, stress=stress)
    known = arrays.get(f"{_PREFIX}stress")
    tension = None
    if stress and known is not None and found.stress is not None:
        tension = known - found.stress
    return Shift(arrays[f"{_PREFIX}forces"] - found.forces, tension)


class CorrectedCalculator(DriverCalculator):
    """As `DriverCalculator`, with forces and stress shifted; predictions stay the model's own.

    Parameters
    ----------
    *args, **kwargs
        Of `DriverCalculator`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shift: Shift | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Evaluate a configuration; see `ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        if self.shift is None or self.source != "model":
            return
        self.results["forces"] = self.results["forces"] + self.shift.forces
        if self.shift.stress is not None and "stress" in self.results:
            added = full_3x3_to_voigt_6_stress(self.shift.stress)
            self.results["stress"] = self.results["stress"] + added
