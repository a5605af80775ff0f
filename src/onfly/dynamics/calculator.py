"""The ASE calculator inside the driver: it evaluates the ensemble and interrupts for labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.state import MDState

__all__ = ["DriverCalculator", "LabelNeeded", "SuppliedLabel"]


class LabelNeeded(Exception):  # noqa: N818 - not an error: it leaves ASE's integrator mid-step
    """Raised inside an integrator's step when the new configuration must be labelled."""

    def __init__(self, atoms: Atoms, prediction: StepPrediction, reason: str, probability: float):
        super().__init__(reason)
        self.atoms = atoms
        self.prediction = prediction
        self.reason = reason
        self.probability = probability


class SuppliedLabel:
    """Results of a label on the foundation's energy scale, valid at exactly one configuration.

    Parameters
    ----------
    positions, cell
        Shapes (N, 3) and (3, 3), in Å: the configuration that was labelled, to the last bit.
    energy, forces, stress
        eV (with the offset), eV/Å, eV/Å³ or None.
    """

    def __init__(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        energy: float,
        forces: np.ndarray,
        stress: np.ndarray | None,
    ) -> None:
        self.positions = positions
        self.cell = cell
        self.energy = energy
        self.forces = np.asarray(forces, dtype=float)
        self.stress = None if stress is None else np.asarray(stress, dtype=float)

    def fits(self, atoms: Atoms) -> bool:
        """Whether the label belongs to this configuration."""
        return np.array_equal(atoms.positions, self.positions) and np.array_equal(
            atoms.cell.array, self.cell
        )


Judge = Callable[[Atoms, StepPrediction], tuple[str | None, float]]


class DriverCalculator(Calculator):
    """Evaluate the ensemble mean, or hand out the results of a label.

    Parameters
    ----------
    predictor
        The ensemble.
    judge
        Called with each new configuration and prediction; returns the reason to ask for a label,
        or None, and the probability that the error exceeds the threshold.
    needs_stress
        Whether the integrator reads the stress.
    supplied
        A label that has come for one configuration.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "forces",
        "stress",
        "free_energy",
    ]

    def __init__(
        self,
        predictor: Predictor,
        judge: Judge,
        *,
        needs_stress: bool,
        supplied: SuppliedLabel | None = None,
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.judge = judge
        self.needs_stress = needs_stress
        self.supplied = supplied
        self.step: int | None = None
        self.energy_std: float | None = None
        self.probability: float | None = None
        self.source = "model"

    def preload(self, atoms: Atoms, state: MDState) -> None:
        """Set the results that the state already has, so that they are not computed again.

        They may be a label's, or of the ensemble before its last update: the first half kick of
        the next step must use the very forces of the second half kick of the step before.
        """
        self.atoms = atoms.copy()
        self._set(state.energy, state.forces, state.stress)

    def _set(self, energy: float, forces: np.ndarray, stress: np.ndarray | None) -> None:
        self.results = {"energy": energy, "free_energy": energy, "forces": np.array(forces)}
        if stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Evaluate a configuration; see `ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        present: Atoms = self.atoms  # type: ignore[assignment]
        label = self.supplied
        if label is not None and label.fits(present):
            self.source = "label"
            self._set(label.energy, label.forces, label.stress)
            return
        prediction = self.predictor.predict(present, stress=self.needs_stress, step=self.step)
        self.energy_std = self.probability = None
        if prediction.watched:
            reason, probability = self.judge(present, prediction)
            if reason is not None:
                raise LabelNeeded(present.copy(), prediction, reason, probability)
            self.energy_std, self.probability = prediction.energy_std, probability
        self.source = "model"
        self._set(prediction.energy, prediction.forces, prediction.stress)
