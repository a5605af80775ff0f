"""When the fit stops improving: a cycle whose length follows from its own burn-in."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from onfly.bayes.schedules import CyclicSchedule

__all__ = ["Plateau"]

CHECK_EVERY = 25
# an improvement by one nat is a factor e in the likelihood: nothing to wait for
FLOOR = 1.0
MAX_FRACTION = 0.5


class Plateau:
    """Watches the noise-free part of a cycle and tells when the cycle may go on to sampling.

    A plateau is reached when, over the last quarter of the steps so far, neither the running mean
    of the minibatches' log-likelihoods nor the log-likelihood of the newest label rose by more than
    `tolerance` times what it rose in all (or one nat, if that is more). If this happens at step k,
    the cycle is shortened to k/f steps, where f is the noise-free fraction of the schedule (at most
    one half, so that a cycle without any noise still ends with small steps).

    Parameters
    ----------
    min_steps
        Shortest cycle.
    tolerance
        See above.
    """

    def __init__(self, min_steps: int, tolerance: float = 0.02) -> None:
        if min_steps < 1 or not tolerance > 0.0:
            raise ValueError(f"bad min_steps={min_steps!r} or tolerance={tolerance!r}")
        self.min_steps, self.tolerance = min_steps, tolerance
        self._values: list[Tensor] = []
        self._newest: list[float] = []

    def add(self, value: Tensor) -> None:
        """Record the log-likelihood estimate of one step; stays on the device."""
        self._values.append(value)

    def is_due(self, i: int, schedule: CyclicSchedule) -> bool:
        """Tell whether to check after i steps."""
        limit = min(schedule.burn_in, MAX_FRACTION) * schedule.n_steps
        return i % CHECK_EVERY == 0 and i < limit

    def reached(self, newest: Tensor) -> bool:
        """Check the criterion with the present log-likelihood of the newest label."""
        self._newest.append(float(newest))
        values = torch.stack(self._values).double().cpu()
        window = max(1, len(values) // 4)
        mean = [float(part.mean()) for part in (values[-2 * window : -window], values[-window:])]
        start = float(values[: max(1, CHECK_EVERY // 5)].mean())
        if len(self._newest) < 4:
            return False
        back = max(1, len(self._newest) // 4)
        return self._flat(mean[1] - mean[0], mean[1] - start) and self._flat(
            self._newest[-1] - self._newest[-1 - back], self._newest[-1] - self._newest[0]
        )

    def _flat(self, recent: float, total: float) -> bool:
        return math.isfinite(recent) and recent <= max(self.tolerance * total, FLOOR)

    def shorten(self, i: int, schedule: CyclicSchedule) -> CyclicSchedule:
        """Return the cycle whose noise-free part ends (or is half over) after i steps."""
        fraction = min(schedule.burn_in, MAX_FRACTION)
        length = max(math.ceil(i / fraction), self.min_steps)
        return replace(schedule, n_steps=min(length, schedule.n_steps))
