"""Labels that are due at a step whatever the ensemble predicts; they do not stop the MD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onfly.seeds import numpy_stream

__all__ = ["AuditSchedule", "Warmup", "due"]


@dataclass(frozen=True)
class AuditSchedule:
    """Labels at random steps: evidence of the errors that is not selected by the model.

    One step is drawn of each stretch of `interval` steps, so that no long stretch goes without.

    Parameters
    ----------
    interval
        MD steps of a stretch; 0 switches audits off.
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
        stretch, within = divmod(step - 1, self.interval)
        return within == int(numpy_stream(*self.key, "audit", stretch).integers(self.interval))


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


def due(
    step: int,
    audits: AuditSchedule,
    warmup: Warmup,
    *,
    n_counted: float,
    steps_since_label: int,
) -> Literal["audit", "warmup"] | None:
    """Return why a label of the configuration reached at a step is due, or None."""
    if audits.is_audit(step):
        return "audit"
    return "warmup" if warmup.asks(n_counted, steps_since_label) else None
