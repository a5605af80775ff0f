"""Calibration of predicted stress uncertainties.

As for energies (`onfly.bayes.calibration`), the error of a component with predicted standard
deviation σ is modelled as e ~ N(0, σ²/λ) with one λ ~ Gamma(a, b) for all components, so that the
error of the next one is a Student-t. A stress has six components, and where a fit is wrong about
the volume it is wrong in three of them: their squares are taken to have an intraclass correlation ρ
within a label, so that the six weigh as 6/(1 + 5 ρ) errors (see `onfly.bayes.clustered`). The
prior is that of forces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from onfly.bayes.clustered import check_errors, check_statistics, effective_number

__all__ = ["StressCalibration"]

_UPPER = np.triu_indices(3)


@dataclass(frozen=True)
class StressCalibration:
    """Gamma posterior of the precision factor λ of stresses, as sufficient statistics.

    Parameters
    ----------
    shape, rate
        Gamma prior (a, b).
    correlation
        ρ, the correlation of squared errors over variance between two components of a label. It is
        an assumption, on the cautious side: a hydrostatic error is half of all components.
    n
        Effective number of errors.
    sum_z2
        Sum of their squares in units of the predicted variance, with the same weights.

    Raises
    ------
    ValueError
        If a field is not finite or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> calibration = StressCalibration().update(0.01 * np.eye(3), np.full((3, 3), 0.01))
    >>> round(calibration.exceedance(np.full((3, 3), 0.01), 0.05), 3)
    0.189
    """

    shape: float = 1.5
    rate: float = 6.0
    correlation: float = 0.5
    n: float = 0.0
    sum_z2: float = 0.0

    def __post_init__(self) -> None:
        check_statistics(self.shape, self.rate, self.correlation, self.n, self.sum_z2)

    def update(
        self,
        error: np.ndarray | Sequence[Sequence[float]],
        std: np.ndarray | Sequence[Sequence[float]],
    ) -> StressCalibration:
        """Return the calibration after the stress of one more label.

        Parameters
        ----------
        error
            Predicted minus labelled stress, before the label was learned, shape (3, 3), symmetric.
        std
            Uncalibrated standard deviations in the same unit, positive, shape (3, 3).

        Raises
        ------
        ValueError
            If shapes do not fit, an error is not finite or a standard deviation not positive.
        """
        errors, stds = _six(error), _six(std)
        check_errors(errors, stds)
        z2 = (errors / stds) ** 2
        weight = effective_number(len(z2), self.correlation)
        return replace(self, n=self.n + weight, sum_z2=self.sum_z2 + weight * float(z2.mean()))

    @property
    def dof(self) -> float:
        """Degrees of freedom of the Student-t."""
        return 2.0 * self.shape + self.n

    @property
    def scale_factor(self) -> float:
        """Factor on an uncalibrated standard deviation."""
        return math.sqrt((self.rate + self.sum_z2 / 2.0) / (self.shape + self.n / 2.0))

    def exceedance(self, std: np.ndarray | Sequence[Sequence[float]], threshold: float) -> float:
        """Return an upper bound of the probability that any component's error exceeds a threshold.

        It is the sum over the six components, which holds however they depend on each other.

        Parameters
        ----------
        std
            Uncalibrated standard deviations, shape (3, 3). Where one is not finite the answer is 1,
            so that a broken prediction always asks for a label.
        threshold
            In the same unit.

        Raises
        ------
        ValueError
            If the shape is wrong, the threshold is not finite and positive, or a standard deviation
            is negative.
        """
        if not math.isfinite(threshold) or threshold <= 0.0:
            raise ValueError(f"the threshold must be finite and positive, got {threshold!r}")
        stds = _six(std)
        if not np.isfinite(stds).all():
            return 1.0
        if (stds < 0.0).any():
            raise ValueError("a standard deviation cannot be negative")
        scaled = stds[stds > 0.0] * self.scale_factor
        return min(1.0, float(2.0 * stats.t.sf(threshold / scaled, self.dof).sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that go into JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StressCalibration:
        """Return the calibration that `to_dict` wrote."""
        return cls(**fields)


def _six(tensor: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    values = np.asarray(tensor, dtype=float)
    if values.shape != (3, 3):
        raise ValueError(f"need the components of a stress, shape (3, 3): got {values.shape}")
    return values[_UPPER]
