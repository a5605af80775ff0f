"""Which steps are audited: a simple random draw without replacement, before anything is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from onfly.proof.looks import Look

__all__ = ["draw_block", "draw_steps"]


def draw_steps(rng: np.random.Generator, n_steps: int, n: int) -> tuple[int, ...]:
    """Return `n` different steps of ``0 … n_steps - 1``, ascending; all choices equally likely.

    Several trajectories make one population: number their steps one after the other.

    Parameters
    ----------
    rng
        Of a stream of its own.
    n_steps
        MD steps to choose from.
    n
        How many.

    Returns
    -------
    tuple of int
        Counted from 0.

    Raises
    ------
    ValueError
        There are fewer steps than audits.

    Examples
    --------
    >>> len(set(draw_steps(np.random.default_rng(1), 1000, 29)))
    29
    """
    return draw_block(rng, n_steps, (Look(n, 0),))[0]


def draw_block(
    rng: np.random.Generator, n_steps: int, looks: Sequence[Look]
) -> tuple[tuple[int, ...], ...]:
    """Return the steps of each look of a closing block, ascending within a look.

    The steps of every look are a random draw from the whole block, not from a part of it: a
    first look at early steps alone would prove nothing about the late ones.

    Parameters
    ----------
    rng
        Of a stream of its own.
    n_steps
        MD steps of the block.
    looks
        Of `ProofRule.looks`.

    Returns
    -------
    tuple of tuple of int
        One tuple for each look.

    Raises
    ------
    ValueError
        There are fewer steps than audits.

    Examples
    --------
    >>> first, reserve = draw_block(np.random.default_rng(1), 1000, (Look(33, 0), Look(57, 1)))
    >>> len(first), len(reserve), set(first) & set(reserve)
    (33, 24, set())
    """
    n = looks[-1].n
    if n > n_steps:
        raise ValueError(
            f"{n} audits cannot be drawn from {n_steps} steps: make the closing block longer, or "
            "ask for a lower coverage or confidence"
        )
    order = rng.choice(n_steps, size=n, replace=False)  # shuffled, so every part is a random draw
    edges = [0, *(look.n for look in looks)]
    return tuple(
        tuple(sorted(int(step) for step in order[start:end])) for start, end in pairwise(edges)
    )
