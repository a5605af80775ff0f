"""Step size and temperature over one cycle of a chain."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CyclicSchedule"]

MIN_STEP_SIZE = 1e-8


@dataclass(frozen=True)
class CyclicSchedule:
    """Cosine step size; no noise at first, then a linear ramp of the temperature to 1.

    γ_i = γ₀/2 (1 + cos(π i/K)) + 1e-8; the paper has K = 2000, 400 steps without noise, and the
    temperature raised over the next 100.

    Parameters
    ----------
    n_steps
        Steps K of the cycle.
    step_size
        Largest step size γ₀.
    burn_in, ramp
        Fractions of the cycle without noise, and of the ramp that follows.
    warm_up
        Fraction of the cycle in which the step size rises from 0. Adam and AMSGrad start with an
        empty second moment, so that their first steps move every weight by the whole step size,
        whatever its gradient: without a warm-up a chain that goes on from a fit loses it first.
    """

    n_steps: int = 2000
    step_size: float = 1e-3
    burn_in: float = 0.2
    ramp: float = 0.05
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ValueError(f"a cycle needs at least one step, got n_steps={self.n_steps}")
        if not math.isfinite(self.step_size) or self.step_size <= 0.0:
            raise ValueError(f"the step size must be finite and positive, got {self.step_size!r}")
        for name in ("burn_in", "ramp", "warm_up"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")

    def at(self, i: int) -> tuple[float, float]:
        """Return step size and temperature of step i, counted from 0."""
        step_size = 0.5 * self.step_size * (1.0 + math.cos(math.pi * i / self.n_steps))
        if i + 1 < self.warm_up * self.n_steps:
            step_size *= (i + 1) / (self.warm_up * self.n_steps)
        start, length = self.burn_in * self.n_steps, self.ramp * self.n_steps
        if i < start:
            temperature = 0.0
        elif i < start + length:
            temperature = (i - start) / length
        else:
            temperature = 1.0
        return step_size + MIN_STEP_SIZE, temperature
