"""Means of correlated series, with error bars that account for the correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal

__all__ = ["CorrelatedMean", "autocorrelation", "correlated_mean"]


@dataclass(frozen=True)
class CorrelatedMean:
    """Mean of a stationary series and its standard error.

    Attributes
    ----------
    n_effective
        Number of independent samples that would give the same standard error.
    """

    mean: float
    standard_error: float
    n: int
    n_effective: float


def autocorrelation(values: ArrayLike) -> np.ndarray:
    """Normalised autocorrelation function at lags 0, 1, …, n - 1 (zero for a constant series)."""
    x = np.asarray(values, dtype=float).ravel()
    x = x - x.mean()
    n = x.size
    acf = signal.correlate(x, x, mode="full", method="fft")[n - 1 :] / np.arange(n, 0, -1)
    # a constant series keeps rounding noise, which must not look like a signal
    if acf[0] <= 1e-24 * max(1.0, float(np.abs(np.asarray(values, dtype=float)).max()) ** 2):
        return np.zeros(n)
    return acf / acf[0]


def correlated_mean(values: ArrayLike) -> CorrelatedMean:
    """Mean and standard error of a stationary, possibly correlated series.

    The statistical inefficiency g = 1 + 2 Σ (1 - t/n) ρ(t) is summed to the first lag at which
    the autocorrelation is no longer positive (Chodera et al., JCTC 3, 26 (2007), eq. 20-22).

    Raises
    ------
    ValueError
        For fewer than two or non-finite values.
    """
    x = np.asarray(values, dtype=float).ravel()
    if x.size < 2:
        raise ValueError("a standard error needs at least two values")
    if not np.isfinite(x).all():
        raise ValueError("values hold NaN or infinite numbers")
    rho = autocorrelation(x)
    stop = np.flatnonzero(rho <= 0)
    last = int(stop[0]) if stop.size else x.size
    lags = np.arange(1, last)
    inefficiency = max(1.0, 1 + 2 * float(np.sum((1 - lags / x.size) * rho[1:last])))
    n_effective = x.size / inefficiency
    error = float(x.std(ddof=1) / np.sqrt(n_effective))
    return CorrelatedMean(float(x.mean()), error, x.size, float(n_effective))
