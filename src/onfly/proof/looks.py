"""Group-sequential arithmetic of a closing block: exact, from binomial probabilities.

A block is looked at up to F + 1 times. Look k, counted from 0, has seen n_k audits in all and
passes if at most k of them failed; more than F failures lose the block. The chance to pass with a
coverage q is a finite sum of binomial probabilities (the path counting of Jennison and Turnbull,
Group Sequential Methods, chapter 12). It grows with q, so the chance at the coverage to be proven
bounds that of every worse model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom

__all__ = ["Look", "expected_audits", "lower_bound", "pass_probability", "plan_looks"]


class Look(NamedTuple):
    """A point at which a closing block may pass.

    Attributes
    ----------
    n
        Audits up to here.
    failures
        How many of them may have failed.

    Examples
    --------
    >>> Look(n=33, failures=0).n
    33
    """

    n: int
    """Audits of the block up to and including this look."""
    failures: int
    """Of these that may have failed."""


def plan_looks(coverage: float, alpha: float, failures: int, share: float) -> tuple[Look, ...]:
    """Return the smallest looks that a model below the coverage passes with at most `alpha`.

    Parameters
    ----------
    coverage
        Share of the steps on which the tolerances hold, to be proven.
    alpha
        Probability with which a model of less coverage may pass the block.
    failures
        Audits that may fail in the whole block.
    share
        Part of `alpha` that the first look spends, and each further one of what is left; the last
        look spends the rest.

    Returns
    -------
    tuple of Look
        ``failures + 1`` of them.

    References
    ----------
    C. Jennison and B. W. Turnbull, Group Sequential Methods (2000), chapter 7 (spending of errors).

    Examples
    --------
    >>> plan_looks(0.9, 0.05, failures=0, share=0.8)
    (Look(n=29, failures=0),)
    >>> plan_looks(0.9, 0.04, failures=1, share=0.8)
    (Look(n=33, failures=0), Look(n=57, failures=1))
    """
    return _plan(float(coverage), float(alpha), int(failures), float(share))


@lru_cache(maxsize=256)
def _plan(coverage: float, alpha: float, failures: int, share: float) -> tuple[Look, ...]:
    looks: tuple[Look, ...] = ()
    for k in range(failures + 1):
        spent = alpha * (1 - (1 - share) ** (k + 1)) if k < failures else alpha
        low = looks[-1].n if looks else 0
        step = 1
        while _passes(looks, low + step, coverage, failures) > spent:
            low, step = low + step, 2 * step
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if _passes(looks, middle, coverage, failures) > spent:
                low = middle
            else:
                high = middle
        looks = (*looks, Look(high, k))
    return looks


def _passes(looks: tuple[Look, ...], n: int, coverage: float, failures: int) -> float:
    """Return the chance to pass the looks and one more with `n` audits."""
    sizes = [*(look.n for look in looks), n]
    return sum(passed for _, passed in _paths(sizes, coverage, failures))


def _paths(sizes: Sequence[int], coverage: float, failures: int) -> Iterator[tuple[float, float]]:
    """Yield, look by look, the chance to get there and the chance to pass there."""
    undecided = np.zeros(failures + 1)  # chance of each number of failures so far
    undecided[0] = 1.0
    seen = 0
    for k, n in enumerate(sizes):
        reached = float(undecided.sum())
        fresh = binom.pmf(np.arange(failures + 1), n - seen, 1 - coverage)
        # failures beyond the allowed ones are cut off: there the block is lost
        undecided = np.convolve(undecided, fresh)[: failures + 1]
        passed = float(undecided[: k + 1].sum())
        undecided[: k + 1] = 0.0
        seen = n
        yield reached, passed


def pass_probability(looks: Sequence[Look], coverage: float, up_to: int | None = None) -> float:
    """Return the chance of a model of this coverage to pass; only looks 0 … `up_to` if given.

    Parameters
    ----------
    looks
        Of a block.
    coverage
        True share of the steps on which the tolerances hold.
    up_to
        Number of the last look that counts.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> round(pass_probability((Look(29, 0),), 0.99), 3)  # 0.99**29
    0.747
    """
    last = len(looks) - 1 if up_to is None else up_to
    sizes = [look.n for look in looks]
    chances = [passed for _, passed in _paths(sizes, coverage, looks[-1].failures)]
    return float(sum(chances[: last + 1]))


def expected_audits(looks: Sequence[Look], coverage: float) -> tuple[float, float]:
    """Return the mean number of audits and of looks of a block for a model of this coverage.

    Audits of a look count in full, also if a failure decided the block before its last one.

    Parameters
    ----------
    looks
        Of a block.
    coverage
        True share of the steps on which the tolerances hold.

    Returns
    -------
    tuple of float
        Audits, and looks.

    Examples
    --------
    >>> audits, n_looks = expected_audits((Look(33, 0), Look(57, 1)), coverage=0.99)
    >>> round(audits, 1), round(n_looks, 2)
    (38.7, 1.24)
    """
    sizes = [look.n for look in looks]
    new = np.diff([0, *sizes])
    reached = [chance for chance, _ in _paths(sizes, coverage, looks[-1].failures)]
    return float(np.dot(new, reached)), float(np.sum(reached))


def lower_bound(looks: Sequence[Look], passed_at: int, alpha: float) -> float:
    """Return the coverage that a block proves which passed at a look.

    The outcomes are ordered by the look at which they pass (stagewise ordering: Jennison and
    Turnbull, section 8.4): the bound is the coverage at which a pass at this look or an earlier one
    has the probability `alpha`.

    Parameters
    ----------
    looks
        Of the block.
    passed_at
        Number of the look at which it passed.
    alpha
        Probability of error that the block may spend.

    Returns
    -------
    float
        Share of the steps.

    Examples
    --------
    >>> round(lower_bound((Look(29, 0),), 0, 0.05), 4)  # 0.05**(1 / 29)
    0.9019
    """
    return float(brentq(lambda q: pass_probability(looks, q, passed_at) - alpha, 0.0, 1.0))
