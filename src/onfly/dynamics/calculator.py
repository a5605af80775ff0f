"""The ASE calculator inside the driver: it evaluates the ensemble, or hands out a label."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.screen import MomentScreen
from onfly.dynamics.state import MDState

__all__ = ["DriverCalculator", "SuppliedLabel"]


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


class DriverCalculator(Calculator):
    """Evaluate the ensemble mean, or hand out the results of a label.

    Parameters
    ----------
    predictor
        The ensemble.
    needs_stress
        Whether the integrator reads the stress, or the criterion judges it.
    forces_std
        Whether the std of the forces is needed to judge a prediction.
    supplied
        A label that has come for one configuration.
    screen
        Says at which steps the std of the forces is computed; None computes it at every one.

    Attributes
    ----------
    prediction
        Of the configuration that was evaluated last; None if that was a label's or none was.
    """

    implemented_properties = ["energy", "forces", "stress", "free_energy"]  # noqa: RUF012

    def __init__(
        self,
        predictor: Predictor,
        *,
        needs_stress: bool = False,
        forces_std: bool = False,
        supplied: SuppliedLabel | None = None,
        screen: MomentScreen | None = None,
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.needs_stress = needs_stress
        self.forces_std = forces_std
        self.supplied = supplied
        self.screen = screen
        self.step: int | None = None
        self.prediction: StepPrediction | None = None
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
        present: Any = self.atoms
        label = self.supplied
        if label is not None and label.fits(present):
            self.source, self.prediction = "label", None
            if self.screen is not None:
                self.screen.clear()
            self._set(label.energy, label.forces, label.stress)
            return
        screen = self.screen
        prediction = self.predictor.predict(
            present,
            stress=self.needs_stress,
            forces_std=self.forces_std if screen is None else screen.asks,
            step=self.step,
        )
        if screen is not None:
            prediction = screen.judged(prediction)
        self.source, self.prediction = "model", prediction
        self._set(prediction.energy, prediction.forces, prediction.stress)
