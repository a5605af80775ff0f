"""How good predictions are, and how honest their standard deviations.

All functions take plain arrays. Errors are predicted minus labelled; errors, standard deviations
and thresholds share one unit (eV inside the package), and the log-likelihoods are densities in
the inverse of that unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = [
    "IntervalLikelihood",
    "ReliabilityCurve",
    "auc_roc",
    "binomial_interval",
    "mean_log_likelihood",
    "mll_by_error_interval",
    "reliability_curve",
    "rmse",
    "z_scores",
]


def _pair(errors: ArrayLike, std: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    e = np.asarray(errors, dtype=float).ravel()
    s = np.asarray(std, dtype=float).ravel()
    if s.size == 1 and e.size != 1:
        s = np.full(e.shape, s[0])
    if e.shape != s.shape:
        raise ValueError(f"{e.size} errors but {s.size} standard deviations: give one for each")
    if e.size == 0:
        raise ValueError("no errors given")
    if not np.isfinite(e).all():
        raise ValueError("errors hold NaN or infinite values: leave out unlabelled samples")
    if not (np.isfinite(s).all() and (s > 0).all()):
        raise ValueError("standard deviations must be finite and positive")
    return e, s


def _errors(errors: ArrayLike) -> np.ndarray:
    e = np.asarray(errors, dtype=float).ravel()
    if e.size == 0:
        raise ValueError("no errors given")
    if not np.isfinite(e).all():
        raise ValueError("errors hold NaN or infinite values: leave out unlabelled samples")
    return e


def rmse(errors: ArrayLike) -> float:
    """Root of the mean squared error, over all components.

    Parameters
    ----------
    errors
        Any shape and unit.

    Returns
    -------
    float
        In the unit of the errors.

    Raises
    ------
    ValueError
        If there is no error, or one is not finite.

    Examples
    --------
    >>> rmse([3.0, -4.0, 0.0, 0.0])
    2.5
    """
    return float(np.sqrt(np.mean(_errors(errors) ** 2)))


def z_scores(errors: ArrayLike, std: ArrayLike) -> np.ndarray:
    """Errors in units of their own predicted standard deviation, shape (n,).

    Of a calibrated Gaussian prediction they are standard normal.

    Parameters
    ----------
    errors, std
        In one unit, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), without unit.

    Raises
    ------
    ValueError
        If the shapes differ, nothing is given, a number is not finite, or a std is not positive.

    Examples
    --------
    >>> z_scores([0.1, -0.4], [0.1, 0.2])
    array([ 1., -2.])
    """
    e, s = _pair(errors, std)
    return e / s


def mean_log_likelihood(errors: ArrayLike, std: ArrayLike) -> float:
    """Mean log density of the errors under N(0, std²), natural logarithm.

    Parameters
    ----------
    errors, std
        Errors and predicted standard deviations in one unit, shape (n,).

    Returns
    -------
    float
        The density is per unit of the errors: numbers in eV and in meV differ by log 1000.

    Raises
    ------
    ValueError
        If the shapes differ, nothing is given, or a number is not finite.

    Examples
    --------
    >>> round(mean_log_likelihood([0.1, -0.1], [0.1, 0.1]), 3)
    0.884
    """
    e, s = _pair(errors, std)
    return float(stats.norm.logpdf(e, scale=s).mean())


def auc_roc(errors: ArrayLike, std: ArrayLike, threshold: float) -> float:
    """Area under the ROC curve of "std is large" as a detector of ``|error| > threshold``.

    The probability that a sample beyond the threshold has a larger std than one within it, ties
    counted as a half (the Mann-Whitney statistic). 0.5 is chance, 1 is perfect.

    Parameters
    ----------
    errors, std
        Errors and predicted standard deviations in one unit, shape (n,).
    threshold
        In the same unit.

    Returns
    -------
    float
        NaN if all samples are on one side of the threshold: there is then nothing to detect.

    Raises
    ------
    ValueError
        If the shapes differ, nothing is given, or a number is not finite.

    References
    ----------
    H. B. Mann and D. R. Whitney, Ann. Math. Statist. 18, 50 (1947).

    Examples
    --------
    >>> auc_roc([0.1, -0.2, 0.9, -1.1], [0.1, 0.3, 0.2, 0.8], threshold=0.5)
    0.75
    """
    e, s = _pair(errors, std)
    bad = np.abs(e) > threshold
    if bad.all() or not bad.any():
        return float("nan")
    wins = stats.mannwhitneyu(s[bad], s[~bad], method="asymptotic").statistic
    return float(wins / (bad.sum() * (~bad).sum()))


@dataclass(frozen=True)
class ReliabilityCurve:
    """Nominal and observed coverage of central intervals.

    Attributes
    ----------
    nominal
        Probability that the prediction claims for its central interval, shape (k,).
    observed
        Fraction of the errors inside that interval, shape (k,).
    low, high
        Clopper-Pearson interval of ``observed``, shape (k,).
    n
        Number of errors.

    Examples
    --------
    >>> nominal, observed = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.3, 1.0])
    >>> curve = ReliabilityCurve(nominal, observed, low=np.zeros(3), high=np.ones(3), n=40)
    >>> round(curve.miscalibration_area, 3)
    0.1
    """

    nominal: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int

    @property
    def miscalibration_area(self) -> float:
        """Mean distance of the curve from the diagonal: 0 is calibrated, 0.5 the worst."""
        return float(np.trapezoid(np.abs(self.observed - self.nominal), self.nominal))


def reliability_curve(
    errors: ArrayLike,
    scale: ArrayLike,
    degrees_of_freedom: ArrayLike | None = None,
    levels: ArrayLike | None = None,
    confidence: float = 0.95,
) -> ReliabilityCurve:
    """Compare the claimed with the observed coverage of central intervals.

    Parameters
    ----------
    errors, scale
        Shape (n,), in one unit: errors, and the std (Gaussian) or scale (Student-t) of each
        prediction.
    degrees_of_freedom
        None for Gaussian predictions; else one number, or one for each prediction.
    levels
        Nominal coverages, shape (k,); 0, 0.05, …, 1 unless given.
    confidence
        Of the interval of each observed coverage.

    Returns
    -------
    ReliabilityCurve
        One point for each level.

    Raises
    ------
    ValueError
        If a level is no probability, or errors and scales do not fit.

    Examples
    --------
    >>> reliability_curve([0.1, -0.3, 0.2, -0.05], [0.2] * 4, levels=[0.5, 0.9]).observed
    array([0.5, 1. ])
    """
    e, s = _pair(errors, scale)
    nominal = np.linspace(0, 1, 21) if levels is None else np.asarray(levels, dtype=float)
    if ((nominal < 0) | (nominal > 1)).any():
        raise ValueError("levels are probabilities: give numbers from 0 to 1")
    z = np.abs(e) / s
    if degrees_of_freedom is None:
        mass = 1 - 2 * stats.norm.sf(z)
    else:
        mass = 1 - 2 * stats.t.sf(z, df=np.broadcast_to(degrees_of_freedom, z.shape))
    # an error is inside the central interval of level q when the mass nearer to 0 is at most q
    inside = (mass[:, None] <= nominal[None, :]).sum(axis=0)
    bounds = np.array([binomial_interval(int(k), e.size, confidence) for k in inside])
    return ReliabilityCurve(nominal, inside / e.size, bounds[:, 0], bounds[:, 1], e.size)


@dataclass(frozen=True)
class IntervalLikelihood:
    """Mean log-likelihood of the samples with ``low <= |error| < high``.

    Attributes
    ----------
    low, high
        Interval of the absolute error, in its unit; ``low <= |error| < high``.
    n
        Number of samples in it.
    mean
        Of the logarithm of the density that was predicted for each error; NaN without any.
    standard_error
        Of the mean; NaN for fewer than two samples.

    Examples
    --------
    >>> IntervalLikelihood(low=0.0, high=0.1, n=12, mean=1.3, standard_error=0.2).n
    12
    """

    low: float
    high: float
    n: int
    mean: float
    standard_error: float


def mll_by_error_interval(
    errors: ArrayLike,
    scale: ArrayLike,
    edges: ArrayLike,
    degrees_of_freedom: ArrayLike | None = None,
) -> list[IntervalLikelihood]:
    """Mean log-likelihood of the samples in intervals of their absolute error (figure 9).

    A method that is over-confident on its worst predictions shows in the last intervals, where
    an average over all samples hides it.

    Parameters
    ----------
    errors, scale
        Shape (n,), in one unit: errors, and the std (Gaussian) or scale (Student-t) of each
        prediction.
    edges
        Increasing, shape (k + 1,); the last may be infinite. Samples outside are left out.
    degrees_of_freedom
        None for Gaussian predictions; else one number, or one for each prediction.

    Returns
    -------
    list of IntervalLikelihood
        One for each interval, with NaN as the mean of an empty one and as the standard error of
        fewer than two samples.

    Raises
    ------
    ValueError
        If the edges do not increase, or errors and scales do not fit.

    References
    ----------
    T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery 2026, 10.1039/d5dd00392j, figure 9.

    Examples
    --------
    >>> found = mll_by_error_interval([0.1, -0.2, 1.5], [0.2, 0.2, 0.3], edges=[0, 1, np.inf])
    >>> [(part.n, round(part.mean, 1)) for part in found]
    [(2, 0.4), (1, -12.2)]
    """
    e, s = _pair(errors, scale)
    bounds = np.asarray(edges, dtype=float)
    if bounds.ndim != 1 or bounds.size < 2 or not (np.diff(bounds) > 0).all():
        raise ValueError("edges must be at least two increasing numbers")
    if degrees_of_freedom is None:
        log_density = stats.norm.logpdf(e, scale=s)
    else:
        nu = np.broadcast_to(np.asarray(degrees_of_freedom, dtype=float), e.shape)
        log_density = stats.t.logpdf(e, df=nu, scale=s)
    result = []
    for low, high in pairwise(bounds):
        values = log_density[(np.abs(e) >= low) & (np.abs(e) < high)]
        n = int(values.size)
        result.append(
            IntervalLikelihood(
                low=float(low),
                high=float(high),
                n=n,
                mean=float(values.mean()) if n else float("nan"),
                standard_error=float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
            )
        )
    return result


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a probability, (0, 1) if nothing was tried.

    Exact: it holds the true probability at least as often as ``confidence`` says, for any n.

    Parameters
    ----------
    successes, n
        Of how many trials how many succeeded.
    confidence
        Between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end.

    Raises
    ------
    ValueError
        If the numbers are impossible.

    References
    ----------
    C. J. Clopper and E. S. Pearson, Biometrika 26, 404 (1934).

    Examples
    --------
    >>> [round(end, 3) for end in binomial_interval(22, 22)]
    [0.846, 1.0]
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials is impossible")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    if n == 0:
        return 0.0, 1.0
    # quantiles of the beta distribution: what `scipy.stats.binomtest` finds by a search that takes
    # milliseconds, and a page needs hundreds of these
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(stats.beta.isf(tail, successes + 1, n - successes))
    return low, high
