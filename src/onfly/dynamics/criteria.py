"""When to ask for a label: the calibrated probability that the energy error exceeds a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onfly.bayes.calibration import Calibration
from onfly.seeds import numpy_stream

__all__ = ["AuditSchedule", "EnergyCriterion", "Warmup"]


@dataclass(frozen=True)
class EnergyCriterion:
    """Ask for a label when P(|energy error| > threshold) exceeds a probability.

    Parameters
    ----------
    threshold
        Of the whole cell, in eV.
    max_probability
        5 % in the paper.
    watch_only
        Never interrupt: configurations that exceed the probability are only marked.
    """

    threshold: float
    max_probability: float = 0.05
    watch_only: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            raise ValueError(f"threshold {self.threshold} eV is not positive and finite")
        if not 0 < self.max_probability < 1:
            raise ValueError(f"max_probability {self.max_probability} is not between 0 and 1")

    def probability(self, std: float, calibration: Calibration) -> float:
        """Return the calibrated probability that the error exceeds the threshold."""
        return calibration.exceedance(std, self.threshold)

    def exceeded(self, probability: float) -> bool:
        """Whether the configuration is too uncertain. Written so that NaN is."""
        return not probability <= self.max_probability

    def fires(self, probability: float) -> bool:
        """Whether the step must be interrupted."""
        return not self.watch_only and self.exceeded(probability)


@dataclass(frozen=True)
class AuditSchedule:
    """Labels at random steps: the only evidence of coverage that is not selected by the model.

    Parameters
    ----------
    interval
        Mean number of MD steps between audits; 0 switches them off.
    key
        Names the random stream. Whether a step is an audit depends on the key and the step alone.
    """

    interval: int
    key: tuple[str | int, ...]

    def __post_init__(self) -> None:
        if self.interval < 0:
            raise ValueError(f"audit_interval {self.interval} is negative; 0 switches audits off")

    def is_audit(self, step: int) -> bool:
        """Whether the configuration reached at a step is audited."""
        if self.interval == 0:
            return False
        return bool(numpy_stream(*self.key, "audit", step).random() * self.interval < 1.0)


@dataclass(frozen=True)
class Warmup:
    """No long stretch without labels before the calibration has seen some.

    Parameters
    ----------
    min_labels
        Labels that must count in the calibration first.
    interval
        Longest stretch, in MD steps, between labels until then.
    """

    min_labels: int = 4
    interval: int = 10

    def asks(self, n_counted: float, steps_since_label: int) -> bool:
        """Whether a label is due."""
        return n_counted < self.min_labels and steps_since_label >= self.interval
