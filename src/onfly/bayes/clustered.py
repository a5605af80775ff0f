"""Many errors of one label that hang together: for the calibrations of forces and of stresses.

k components whose squares have an intraclass correlation ρ weigh as k/(1 + (k - 1) ρ) independent
errors, never more than 1/ρ (the design effect of cluster sampling: Kish, Survey Sampling, 1965,
section 5.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["check_errors", "check_statistics", "effective_number"]


def effective_number(count: int, correlation: float) -> float:
    """Return the number of independent errors that `count` components of a label stand for."""
    return count / (1.0 + (count - 1.0) * correlation)


def check_statistics(
    shape: float,
    rate: float,
    correlation: float,
    n: float | Sequence[float],
    sum_z2: float | Sequence[float],
) -> None:
    """Raise ValueError if prior or sufficient statistics are not finite or out of range."""
    for name, value in (("shape", shape), ("rate", rate)):
        if not math.isfinite(value) or value <= 0.0:
            raise ValueError(f"{name} must be finite and positive, got {value!r}")
    if not 0.0 <= correlation <= 1.0:
        raise ValueError(f"correlation must be between 0 and 1, got {correlation!r}")
    values = np.array([*np.atleast_1d(n), *np.atleast_1d(sum_z2)], dtype=float)
    if not np.isfinite(values).all() or (values < 0.0).any():
        raise ValueError(f"n={n} and sum_z2={sum_z2} must be finite and not negative")


def check_errors(errors: np.ndarray, stds: np.ndarray) -> None:
    """Raise ValueError if an error is not finite or a standard deviation not positive."""
    if not np.isfinite(errors).all() or not (np.isfinite(stds).all() and (stds > 0.0).all()):
        raise ValueError("errors must be finite, and standard deviations finite and positive")
