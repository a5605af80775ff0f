"""Exact intervals of a coverage from audits at random steps, and how many audits they take."""

from __future__ import annotations

from scipy.stats import binom, binomtest

__all__ = ["coverage_proven", "plan_audits"]


def plan_audits(coverage: float, confidence: float, failures: int = 0) -> int:
    """Return how many audits prove a coverage if at most `failures` of them fail.

    The smallest n for which a model that keeps its tolerances in less than `coverage` of the steps
    passes with a probability of at most ``1 - confidence``: P(X <= failures) for X binomial with
    n and ``1 - coverage`` (Clopper and Pearson, Biometrika 26, 404 (1934)).

    Parameters
    ----------
    coverage
        Share of the steps on which all tolerances hold, between 0 and 1.
    confidence
        Between 0 and 1.
    failures
        Audits that may fail.

    Returns
    -------
    int
        Number of audits.

    Raises
    ------
    ValueError
        A share outside (0, 1), or a negative number of failures.

    Examples
    --------
    >>> plan_audits(0.9, 0.95), plan_audits(0.9, 0.95, failures=1), plan_audits(0.95, 0.95)
    (29, 46, 59)
    """
    _check_share("coverage", coverage)
    _check_share("confidence", confidence)
    if failures < 0:
        raise ValueError(f"failures is {failures}; it must not be negative")
    allowed = 1 - confidence
    high = failures + 1
    while binom.cdf(failures, high, 1 - coverage) > allowed:
        high *= 2
    low = high // 2  # too few, or no audit at all
    while high - low > 1:
        middle = (low + high) // 2
        if binom.cdf(failures, middle, 1 - coverage) > allowed:
            low = middle
        else:
            high = middle
    return high


def coverage_proven(n_audits: int, n_failed: int, confidence: float) -> float:
    """Return the lower Clopper-Pearson bound of the coverage; 0 without audits.

    One-sided: with probability `confidence` or more the true coverage is not below it. It holds
    for a number of audits that was fixed beforehand and one set of weights.

    Parameters
    ----------
    n_audits, n_failed
        Of one set of weights.
    confidence
        Between 0 and 1.

    Returns
    -------
    float
        Share of the steps.

    Raises
    ------
    ValueError
        More failures than audits, or a confidence outside (0, 1).

    References
    ----------
    C. J. Clopper and E. S. Pearson, Biometrika 26, 404 (1934).

    Examples
    --------
    >>> round(coverage_proven(29, 0, 0.95), 4)
    0.9019
    """
    _check_share("confidence", confidence)
    if not 0 <= n_failed <= n_audits:
        raise ValueError(f"{n_failed} failures of {n_audits} audits is impossible")
    if n_audits == 0:
        return 0.0
    test = binomtest(n_audits - n_failed, n_audits, alternative="greater")
    return float(test.proportion_ci(confidence, method="exact").low)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must lie between 0 and 1")
