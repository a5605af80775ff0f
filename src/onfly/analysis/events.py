"""Are labels asked for more often around events, such as proton jumps or barrier crossings?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["LabelFrequency", "average_around", "label_frequency", "time_to_nearest"]

Method = Literal["shift", "binomial", "fisher"]


@dataclass(frozen=True)
class LabelFrequency:
    """Label frequency inside and outside windows around events.

    Attributes
    ----------
    inside, outside
        Number of labels.
    steps_inside, steps_outside
        Number of MD steps.
    p_value
        Probability to see at least this many labels inside if labels ignored the events.
    method
        The test that gave it.

    Examples
    --------
    >>> found = LabelFrequency(inside=12, outside=20, steps_inside=100, steps_outside=400,
    ...                        p_value=0.01, method="shift")
    >>> round(found.ratio, 2)
    2.4
    """

    inside: int
    outside: int
    steps_inside: int
    steps_outside: int
    p_value: float
    method: Method

    @property
    def rate_inside(self) -> float:
        """Labels per step inside the windows (NaN without windows)."""
        return self.inside / self.steps_inside if self.steps_inside else float("nan")

    @property
    def rate_outside(self) -> float:
        """Labels per step outside the windows (NaN if the windows cover everything)."""
        return self.outside / self.steps_outside if self.steps_outside else float("nan")

    @property
    def ratio(self) -> float:
        """Frequency inside over frequency outside; 1.56 is "56 % more frequent"."""
        if not self.rate_outside > 0:
            return float("inf") if self.inside else float("nan")
        return self.rate_inside / self.rate_outside


def _steps(values: ArrayLike, n_steps: int, what: str) -> np.ndarray:
    steps = np.asarray(values)
    if steps.size and not np.equal(np.mod(steps, 1), 0).all():
        raise ValueError(f"{what} must be whole MD steps: divide times by the time step")
    steps = steps.astype(int).ravel()
    if steps.size and (steps.min() < 0 or steps.max() >= n_steps):
        raise ValueError(f"{what} must lie in 0 … {n_steps - 1} (n_steps is {n_steps})")
    return steps


def label_frequency(
    label_steps: ArrayLike,
    event_steps: ArrayLike,
    n_steps: int,
    half_window: int,
    method: Method = "shift",
    n_resamples: int = 9999,
    seed: int = 0,
) -> LabelFrequency:
    """Compare label frequencies in and out of windows ``event ± half_window``; one-sided test.

    Parameters
    ----------
    label_steps, event_steps
        MD steps, from 0 to n_steps - 1; at most one label a step.
    n_steps
        Number of MD steps.
    half_window
        Steps on either side of an event. A window of 15 fs at 1.5 fs a step is 5.
    method
        ``shift`` shifts all labels together around the trajectory by random amounts. It keeps
        the bursts in which labels come, and is the honest choice. ``binomial`` and ``fisher`` take
        labels as independent of each other, and find too much when they come in bursts.
    n_resamples
        Random shifts; if it exceeds ``n_steps`` - 1, every shift is tried once instead.
    seed
        Of the random shifts.

    Returns
    -------
    LabelFrequency
        With p = 1 if there are no labels or no events.

    Raises
    ------
    ValueError
        If a step or the window is impossible, or the method unknown.

    Examples
    --------
    >>> found = label_frequency([10, 11, 52, 90], [10, 50], n_steps=100, half_window=3)
    >>> found.inside, found.outside, found.ratio > 1
    (3, 1, True)
    """
    if n_steps < 1 or half_window < 0:
        raise ValueError("n_steps must be positive and half_window not negative")
    labels = np.unique(_steps(label_steps, n_steps, "label_steps"))
    events = _steps(event_steps, n_steps, "event_steps")
    window = np.zeros(n_steps, dtype=bool)
    for event in events:
        window[max(0, event - half_window) : event + half_window + 1] = True
    inside, covered = int(window[labels].sum()), int(window.sum())
    outside = int(labels.size) - inside
    if labels.size == 0 or covered in (0, n_steps):
        p = 1.0
    elif method == "binomial":
        p = float(stats.binom.sf(inside - 1, labels.size, covered / n_steps))
    elif method == "fisher":
        table = [
            [inside, covered - inside],
            [outside, n_steps - covered - outside],
        ]
        p = float(stats.fisher_exact(table, alternative="greater").pvalue)
    elif method == "shift":
        p = _shift_test(labels, window, inside, n_resamples, seed)
    else:
        raise ValueError(f"unknown method {method!r}: use shift, binomial or fisher")
    return LabelFrequency(inside, outside, covered, n_steps - covered, p, method)


def _shift_test(
    labels: np.ndarray, window: np.ndarray, inside: int, n_resamples: int, seed: int
) -> float:
    n = window.size
    if n_resamples >= n - 1:
        shifts = np.arange(1, n)
    else:
        shifts = np.random.default_rng(seed).integers(1, n, size=n_resamples)
    counts = np.zeros(shifts.size, dtype=int)
    for label in labels:
        counts += window[(label + shifts) % n]
    # the observed order is one of the possible ones, so p is never 0
    return float((1 + np.count_nonzero(counts >= inside)) / (1 + shifts.size))


def time_to_nearest(times: ArrayLike, event_times: ArrayLike) -> np.ndarray:
    """Signed time to the nearest event (negative before it), shape of ``times``.

    All NaN if there are no events.

    Parameters
    ----------
    times, event_times
        In one unit, such as fs or MD steps, shapes (n,) and (k,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), in the same unit.

    Examples
    --------
    >>> time_to_nearest([0.0, 4.0, 9.0], [5.0])
    array([-5., -1.,  4.])
    """
    t = np.asarray(times, dtype=float)
    events = np.sort(np.asarray(event_times, dtype=float))
    if events.size == 0:
        return np.full(t.shape, np.nan)
    after = np.clip(np.searchsorted(events, t), 0, events.size - 1)
    before = np.clip(after - 1, 0, events.size - 1)
    nearest = np.where(np.abs(t - events[before]) <= np.abs(t - events[after]), before, after)
    return t - events[nearest]


def average_around(
    values: ArrayLike, event_steps: ArrayLike, half_window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average a series, such as the predicted std, over the steps around all events.

    Parameters
    ----------
    values
        One for each MD step, shape (n_steps,), any unit.
    event_steps
        MD steps of the events, shape (k,).
    half_window
        Steps on either side.

    Returns
    -------
    offset
        Steps from the event, shape (2 half_window + 1,).
    mean, standard_error
        Over the events whose window reaches there; NaN where there are too few.

    Examples
    --------
    >>> offset, mean, error = average_around([0, 0, 1, 0, 0, 0, 3, 0, 0], [2, 6], half_window=1)
    >>> offset, mean
    (array([-1,  0,  1]), array([0., 2., 0.]))
    """
    x = np.asarray(values, dtype=float)
    events = _steps(event_steps, x.size, "event_steps")
    offset = np.arange(-half_window, half_window + 1)
    index = events[:, None] + offset[None, :]
    valid = (index >= 0) & (index < x.size)
    samples = np.where(valid, x[np.clip(index, 0, x.size - 1)], np.nan)
    n = valid.sum(axis=0)
    mean, error = np.full(offset.size, np.nan), np.full(offset.size, np.nan)
    some, several = n > 0, n > 1
    mean[some] = np.nanmean(samples[:, some], axis=0)
    error[several] = np.nanstd(samples[:, several], axis=0, ddof=1) / np.sqrt(n[several])
    return offset, mean, error
