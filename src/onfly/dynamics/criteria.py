"""When a prediction must be replaced by a label: the probability that its error is too large.

A criterion judges one prediction; several may hold at once. It is judged once per MD step, on the
configuration that the step leads to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from onfly.bayes.calibration import Calibration
from onfly.bayes.force_calibration import ForceCalibration
from onfly.bayes.stress_calibration import StressCalibration
from onfly.dynamics.predictor import StepPrediction

__all__ = [
    "AnyOf",
    "Assessment",
    "Calibrations",
    "Criterion",
    "EnergyCriterion",
    "ForceCriterion",
    "StressCriterion",
    "needs_stress",
]


@dataclass(frozen=True)
class Calibrations:
    """What past errors say about the standard deviations of energies, forces and stresses.

    Parameters
    ----------
    energy, forces, stress
        Of the cell (eV), of components by element (eV/Å), and of components (eV/Å³); the defaults
        have seen no error.

    Examples
    --------
    >>> Calibrations().energy.n
    0.0
    """

    energy: Calibration = field(default_factory=Calibration)
    forces: ForceCalibration = field(default_factory=ForceCalibration)
    stress: StressCalibration = field(default_factory=StressCalibration)


@dataclass(frozen=True)
class Assessment:
    """What a criterion says of a prediction.

    Parameters
    ----------
    fires
        Whether the step must be taken with a label's forces.
    probability
        Calibrated probability that the error exceeds the tolerance.
    exceeded
        Whether the probability is larger than allowed; a criterion that only watches exceeds
        without firing.
    quantity
        Name of the tolerance.
    where
        Indices of the atoms that are concerned; empty for the whole cell.

    Examples
    --------
    >>> Assessment(fires=True, probability=0.08, exceeded=True, quantity="force", where=(3,)).where
    (3,)
    """

    fires: bool
    probability: float
    exceeded: bool
    quantity: str = "energy"
    where: tuple[int, ...] = ()


@runtime_checkable
class Criterion(Protocol):
    """Judges the prediction of one configuration.

    Attributes
    ----------
    needs_forces_std
        Whether the prediction must hold the std of the forces.

    Notes
    -----
    One that judges the stress also has an attribute `needs_stress`, which is True; see the function
    of that name.

    Examples
    --------
    >>> isinstance(EnergyCriterion(0.05), Criterion)
    True
    """

    @property
    def needs_forces_std(self) -> bool:
        """Whether the prediction must hold the std of the forces."""
        ...

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the assessment of a prediction.

        Parameters
        ----------
        prediction
            Of the configuration that the step leads to.
        calibration
            Of the ensemble's standard deviations.
        """
        ...


def _check_limits(threshold: float, unit: str, max_probability: float) -> None:
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold {threshold} {unit} is not positive and finite")
    if not 0 < max_probability < 1:
        raise ValueError(f"max_probability {max_probability} is not between 0 and 1")


@dataclass(frozen=True)
class EnergyCriterion:
    """Ask for a label when P(|energy error| > threshold) exceeds a probability (paper, eq. 14).

    Parameters
    ----------
    threshold
        Of the whole cell, in eV.
    max_probability
        5 % in the paper.
    watch_only
        Never interrupt: configurations that exceed the probability are only marked.
    quantity
        Name of the tolerance.

    Raises
    ------
    ValueError
        If the threshold or the probability is impossible.

    References
    ----------
    T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery 2026, 10.1039/d5dd00392j, equation 14.

    Examples
    --------
    >>> import numpy as np
    >>> from onfly.dynamics.predictor import StepPrediction
    >>> said = StepPrediction(-1.0, energy_std=0.02, forces=np.zeros((4, 3)), forces_std=None,
    ...                       stress=None)
    >>> found = EnergyCriterion(0.05).assess(said, Calibrations())
    >>> found.fires, round(found.probability, 2)
    (True, 0.4)
    """

    threshold: float
    max_probability: float = 0.05
    watch_only: bool = False
    quantity: str = "energy"

    needs_forces_std = False

    def __post_init__(self) -> None:
        _check_limits(self.threshold, "eV", self.max_probability)

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the calibrated probability that the energy error exceeds the threshold."""
        probability = calibration.energy.exceedance(prediction.energy_std, self.threshold)
        exceeded = not probability <= self.max_probability  # written so that NaN exceeds
        return Assessment(exceeded and not self.watch_only, probability, exceeded, self.quantity)


@dataclass(frozen=True)
class ForceCriterion:
    """Ask for a label when P(|force error of an atom| > threshold) exceeds a probability.

    In a large cell the error of one atom drowns in the energy: this one sees it (named by the
    paper as the next step). The error is the length of the difference vector.

    Parameters
    ----------
    threshold
        eV/Å.
    numbers
        Atomic numbers of all atoms, shape (N,).
    atoms
        Indices of the atoms that count.
    max_probability, watch_only, quantity
        As of `EnergyCriterion`.

    Raises
    ------
    ValueError
        If the threshold or the probability is impossible, or no atom counts.

    Examples
    --------
    >>> import numpy as np
    >>> from onfly.dynamics.predictor import StepPrediction
    >>> std = np.full((2, 3), 0.02)
    >>> std[1] = 0.2
    >>> said = StepPrediction(energy=-1.0, energy_std=0.02, forces=np.zeros((2, 3)), forces_std=std,
    ...                       stress=None)
    >>> found = ForceCriterion(0.1, numbers=(29, 29), atoms=(0, 1)).assess(said, Calibrations())
    >>> found.fires, found.where
    (True, (1,))
    """

    threshold: float
    numbers: tuple[int, ...]
    atoms: tuple[int, ...]
    max_probability: float = 0.05
    watch_only: bool = False
    quantity: str = "force"

    needs_forces_std = True

    def __post_init__(self) -> None:
        _check_limits(self.threshold, "eV/Å", self.max_probability)
        if not self.atoms:
            raise ValueError(f"the tolerance {self.quantity} selects no atom of the structure")

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the largest calibrated probability over the atoms that count."""
        if prediction.forces_std is None:
            raise ValueError("a force criterion needs predictions with the std of the forces")
        chosen = list(self.atoms)
        kinds = np.asarray(self.numbers)[chosen]
        found = calibration.forces.exceedance(prediction.forces_std[chosen], self.threshold, kinds)
        worst = int(np.argmax(np.nan_to_num(found, nan=1.0)))
        probability = float(found[worst])
        exceeded = not probability <= self.max_probability
        return Assessment(
            exceeded and not self.watch_only,
            probability,
            exceeded,
            self.quantity,
            where=(chosen[worst],),
        )


@dataclass(frozen=True)
class StressCriterion:
    """Ask for a label when P(|error of a stress component| > threshold) exceeds a probability.

    An error of the stress is nearly invisible in forces and in the energy of one cell, and rules
    volumes and elastic constants. It is the largest of the six components; the probability is the
    sum over them, an upper bound.

    Parameters
    ----------
    threshold
        eV/Å³.
    max_probability, watch_only, quantity
        As of `EnergyCriterion`.

    Raises
    ------
    ValueError
        If the threshold or the probability is impossible.

    Examples
    --------
    >>> import numpy as np
    >>> from onfly.dynamics.predictor import StepPrediction
    >>> said = StepPrediction(-1.0, energy_std=0.02, forces=np.zeros((4, 3)), forces_std=None,
    ...                       stress=np.zeros((3, 3)), stress_std=np.full((3, 3), 1e-4))
    >>> StressCriterion(0.002).assess(said, Calibrations()).fires
    False
    """

    threshold: float
    max_probability: float = 0.05
    watch_only: bool = False
    quantity: str = "stress"

    # the std of the stress comes with that of the forces, by the same reverse passes
    needs_forces_std = True
    needs_stress = True

    def __post_init__(self) -> None:
        _check_limits(self.threshold, "eV/Å³", self.max_probability)

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the calibrated probability that a component's error exceeds the threshold."""
        if prediction.stress_std is None:
            raise ValueError("a stress criterion needs predictions with the std of the stress")
        probability = calibration.stress.exceedance(prediction.stress_std, self.threshold)
        exceeded = not probability <= self.max_probability
        return Assessment(exceeded and not self.watch_only, probability, exceeded, self.quantity)


def needs_stress(criterion: Criterion) -> bool:
    """Whether predictions must hold stress and its std for a criterion; if it says nothing, no.

    Parameters
    ----------
    criterion
        Any.

    Returns
    -------
    bool
        Its attribute of the same name, False without one.

    Examples
    --------
    >>> needs_stress(StressCriterion(0.001)), needs_stress(EnergyCriterion(0.05))
    (True, False)
    """
    return bool(getattr(criterion, "needs_stress", False))


@dataclass(frozen=True)
class AnyOf:
    """Several criteria at once: any that fires asks for a label.

    Parameters
    ----------
    criteria
        At least one.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> both = AnyOf([EnergyCriterion(0.05), ForceCriterion(0.1, numbers=(29,) * 4, atoms=(0, 1))])
    >>> both.needs_forces_std, both.needs_stress
    (True, False)
    """

    criteria: Sequence[Criterion]

    def __post_init__(self) -> None:
        if not self.criteria:
            raise ValueError("at least one criterion is needed")

    @property
    def needs_forces_std(self) -> bool:
        """Whether any of them needs the std of the forces."""
        return any(criterion.needs_forces_std for criterion in self.criteria)

    @property
    def needs_stress(self) -> bool:
        """Whether any of them needs the stress and its std."""
        return any(needs_stress(criterion) for criterion in self.criteria)

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the assessment of the criterion that is exceeded most."""
        found = [criterion.assess(prediction, calibration) for criterion in self.criteria]
        return max(found, key=lambda a: (a.fires, a.exceeded, a.probability))
