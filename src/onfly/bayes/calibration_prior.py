"""The Gamma prior of the calibration, learned from earlier runs by their marginal likelihood.

A run i has n_i errors and M_i = Σ e²/σ². With e ~ N(0, σ²/λ_i) and λ_i ~ Gamma(a, b), λ_i
integrates out to (see `onfly.bayes.calibration`)

    p(M_i | a, b) ∝ b^a / Γ(a) · Γ(a + n_i/2) / (b + M_i/2)^(a + n_i/2)

which depends on what differs between runs and not on how many errors one of them has. A few runs
say little about the tails of λ, so the present prior takes part as a weak one over log a and
log(b/a).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

__all__ = ["FEWEST_RUNS", "GammaPrior", "fit_gamma_prior", "negative_log_posterior"]

# below this, what differs between compounds cannot be seen
FEWEST_RUNS = 5
# a prior with a shape above this would outweigh some 20 errors of the run itself
LARGEST_SHAPE = 10.0
# std of the weak prior over log a and log(b/a): a factor of e either way
LOG_STD = 1.0


@dataclass(frozen=True)
class GammaPrior:
    """Gamma prior over the precision factor λ.

    Parameters
    ----------
    shape, rate
        a and b.
    n_runs
        Runs it was learned from.
    """

    shape: float
    rate: float
    n_runs: int


def negative_log_posterior(
    log_shape: float,
    log_ratio: float,
    counts: np.ndarray,
    sums: np.ndarray,
    base: tuple[float, float],
) -> float:
    """Return -log of the density of a prior, given the errors of runs, without constants.

    Parameters
    ----------
    log_shape, log_ratio
        log a and log(b/a).
    counts, sums
        n and M of each run, shape (R,).
    base
        Shape and rate that the weak prior over both is centred on.
    """
    a, b = np.exp(log_shape), np.exp(log_shape + log_ratio)
    n, m = counts / 2, sums / 2
    terms = a * np.log(b) - gammaln(a) + gammaln(a + n) - (a + n) * np.log(b + m)
    pull = (log_shape - np.log(base[0])) ** 2 + (log_ratio - np.log(base[1] / base[0])) ** 2
    return float(-terms.sum() + 0.5 * pull / LOG_STD**2)


def fit_gamma_prior(
    counts: Sequence[float], sums: Sequence[float], *, base: tuple[float, float] = (1.5, 10.0)
) -> GammaPrior:
    """Return the prior that explains earlier runs best.

    Parameters
    ----------
    counts
        n of each run: errors that its calibration has counted, shape (R,).
    sums
        M of each run: sum of squared errors in units of their predicted standard deviations.
    base
        Shape and rate of the prior that holds as long as nothing is known.

    Raises
    ------
    ValueError
        If there are fewer than `FEWEST_RUNS` runs with errors, or a number is negative or not
        finite.

    Examples
    --------
    >>> prior = fit_gamma_prior([20] * 8, [15, 30, 22, 18, 25, 40, 12, 20])
    >>> prior.n_runs, prior.rate < 10 and prior.shape > 1.5
    (8, True)
    """
    n, m = np.asarray(counts, float), np.asarray(sums, float)
    if n.shape != m.shape or n.ndim != 1:
        raise ValueError(f"{n.shape} counts and {m.shape} sums do not belong together")
    if not (np.isfinite(n).all() and np.isfinite(m).all() and (n >= 0).all() and (m >= 0).all()):
        raise ValueError("counts and sums of a calibration must be finite and not negative")
    m, n = m[n > 0], n[n > 0]
    if len(n) < FEWEST_RUNS:
        raise ValueError(
            f"{len(n)} earlier runs with errors are too few to learn a prior from: "
            f"{FEWEST_RUNS} are needed"
        )
    # the variance of an error needs a > 1 to exist before the first label
    bounds = [(0.0, float(np.log(LARGEST_SHAPE))), (-8.0, 8.0)]
    found = minimize(
        lambda x: negative_log_posterior(x[0], x[1], n, m, base),
        np.log([base[0], base[1] / base[0]]),
        method="L-BFGS-B",
        bounds=bounds,
    )
    shape = float(np.exp(found.x[0]))
    return GammaPrior(shape, shape * float(np.exp(found.x[1])), len(n))
