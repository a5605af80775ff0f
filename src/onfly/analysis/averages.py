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
    mean, standard_error
        In the unit of the series.
    n
        Number of samples.
    n_effective
        Number of independent samples that would give the same standard error.

    Examples
    --------
    >>> CorrelatedMean(mean=0.5, standard_error=0.02, n=1000, n_effective=52.0).n_effective
    52.0
    """

    mean: float
    standard_error: float
    n: int
    n_effective: float


def autocorrelation(values: ArrayLike) -> np.ndarray:
    """Normalised autocorrelation function at lags 0, 1, …, n - 1 (zero for a constant series).

    Parameters
    ----------
    values
        Shape (n,), any unit.

    Returns
    -------
    numpy.ndarray
        Shape (n,), without unit.

    Examples
    --------
    >>> autocorrelation([1.0, -1.0, 1.0, -1.0]).round(6)
    array([ 1., -1.,  1., -1.])
    """
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

    Parameters
    ----------
    values
        Shape (n,), any unit.

    Returns
    -------
    CorrelatedMean
        In that unit.

    Raises
    ------
    ValueError
        For fewer than two or non-finite values.

    Examples
    --------
    >>> found = correlated_mean([1.0, 1.2, 0.9, 1.1, 1.0, 0.8])
    >>> round(found.mean, 2), round(found.standard_error, 3)
    (1.0, 0.058)
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
