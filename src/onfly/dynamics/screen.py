"""At which MD steps the std of forces and stress is computed.

It costs several times an MD step, and changes slowly: an atom's variance keeps 0.9 of its
autocorrelation over four steps. So the std that was computed last, times a growth that is allowed
for the steps since, is taken for the std of the present step as long as no call follows from it.
Where one would, or the energy's variance grew by more, or after `LONGEST` steps, the std is
computed.

The allowance is measured, not proven: the largest variance over the atoms of a tolerance grew by at
most a factor 1.25, 2.0, 2.6 and 3.1 in 1, 4, 8 and 12 steps (docs/posteriors.md). Faster growth
makes a call late by at most `LONGEST` steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onfly.dynamics.criteria import Calibrations, Criterion
from onfly.dynamics.predictor import StepPrediction

__all__ = ["GROWTH", "LONGEST", "MomentScreen"]

# of a variance per step, relative to the one that was computed
GROWTH = 0.4
# steps after which the std is computed whatever it was
LONGEST = 16


class MomentScreen:
    """Bounds the std of forces and stress by the last ones that were computed.

    Parameters
    ----------
    criterion, calibration
        What a call follows from.
    weights
        Names the weights of the ensemble: what was computed with others is of no use.
    """

    def __init__(self, criterion: Criterion, calibration: Calibrations, weights: str) -> None:
        self._criterion, self._calibration = criterion, calibration
        self._weights = np.frombuffer(weights.encode(), dtype=np.uint8)
        self._seen: dict[str, np.ndarray] = {}
        self._age = 0

    def asks(self, prediction: StepPrediction) -> bool:
        """Whether the std must be computed for a prediction, which comes without it."""
        age = self._age + 1
        if not self._seen or age > LONGEST:
            return True
        grown = prediction.energy_std**2 <= self._seen["energy_std"] ** 2 * (1.0 + GROWTH * age)
        if not grown:  # written so that NaN asks
            return True
        bound = self._bounded(prediction, age)
        if prediction.stress is not None and bound.stress_std is None:
            return True  # the stress was of no interest until now
        return self._criterion.assess(bound, self._calibration).exceeded

    def judged(self, prediction: StepPrediction) -> StepPrediction:
        """Return a prediction with the std that it is judged by, and remember it if it is new."""
        if prediction.forces_std is None:
            self._age += 1
            return self._bounded(prediction, self._age)
        self._age = 0
        self._seen = {
            "forces_std": prediction.forces_std,
            "energy_std": np.array(prediction.energy_std),
        }
        if prediction.stress_std is not None:
            self._seen["stress_std"] = prediction.stress_std
        return prediction

    def _bounded(self, prediction: StepPrediction, age: int) -> StepPrediction:
        factor = math.sqrt(1.0 + GROWTH * age)
        stress_std = self._seen.get("stress_std")
        return replace(
            prediction,
            forces_std=factor * self._seen["forces_std"],
            stress_std=None if stress_std is None else factor * stress_std,
            bounded=True,
        )

    def clear(self) -> None:
        """Forget what was computed."""
        self._seen, self._age = {}, 0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what was computed last, so that joined segments compute at the same steps."""
        if not self._seen:
            return {}
        return {**self._seen, "age": np.array(self._age), "weights": self._weights}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up `to_arrays` of the same weights; anything else starts afresh."""
        self.clear()
        if arrays and np.array_equal(arrays["weights"], self._weights):
            self._seen = {k: v for k, v in arrays.items() if k not in ("age", "weights")}
            self._age = int(arrays["age"])
