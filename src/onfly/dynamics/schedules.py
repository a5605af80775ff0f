"""Labels that are due at a step whatever the ensemble predicts; they do not stop the MD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onfly.seeds import numpy_stream

__all__ = ["AuditSchedule", "Warmup", "audits_suffice", "due"]

# audits that wait to be judged, at most
_MOST_WAITING = 8


@dataclass(frozen=True)
class AuditSchedule:
    """Labels at random steps: evidence of the errors that is not selected by the model.

    One step is drawn of each stretch of `interval` steps, so that no long stretch goes without. If
    nothing happens, some stretches are left out: the gaps between those with an audit are at most
    `thinning` times the stretches since the origin, so that their number grows as the logarithm.

    Parameters
    ----------
    interval
        MD steps of a stretch; 0 switches audits off.
    key
        Names the random stream. Which step of a stretch is drawn depends on the key and the stretch
        alone.
    thinning
        0 leaves out none.

    Examples
    --------
    >>> schedule = AuditSchedule(100, ("run",), thinning=0.125)
    >>> [schedule.count(n_steps) for n_steps in (1000, 20_000)]
    [10, 39]
    """

    interval: int
    key: tuple[str | int, ...]
    thinning: float = 0.0

    def __post_init__(self) -> None:
        if self.interval < 0:
            raise ValueError(f"audit_interval {self.interval} is negative; 0 switches audits off")
        if not 0.0 <= self.thinning < 1.0:
            raise ValueError(f"audit_thinning {self.thinning} must be at least 0 and below 1")

    def is_audit(self, step: int, origin: int = 0) -> bool:
        """Whether the configuration reached at a step is audited.

        Parameters
        ----------
        step
            Of the trajectory.
        origin
            Step from which the stretches are counted.
        """
        if self.interval == 0:
            return False
        stretch, within = divmod(step - 1, self.interval)
        if not self._has_audit(stretch - max(origin - 1, 0) // self.interval):
            return False
        return within == int(numpy_stream(*self.key, "audit", stretch).integers(self.interval))

    def count(self, n_steps: int) -> int:
        """Return the number of audits in so many steps from the origin, if all of them are good."""
        if self.interval == 0:
            return 0
        return sum(self._has_audit(stretch) for stretch in range(round(n_steps / self.interval)))

    def _has_audit(self, stretch: int) -> bool:
        """Whether a stretch, counted from the origin, has an audit."""
        audited = 0
        while audited < stretch:
            audited += max(1, int(self.thinning * audited))
        return audited == stretch


def audits_suffice(waiting: int, judged: float, growth: float | None) -> bool:
    """Whether so many audits wait that they should be judged before the MD goes on.

    The first one is judged at once, and then as many wait as `growth` times those that were judged,
    or eight: a model that is too sure of itself is found early, for few waits.

    Parameters
    ----------
    waiting, judged
        Audits of a trajectory.
    growth
        None lets all wait.
    """
    if growth is None:
        return False
    return waiting >= min(max(1.0, growth * judged), _MOST_WAITING)


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
    origin: int = 0,
    n_counted: float,
    steps_since_label: int,
) -> Literal["audit", "warmup"] | None:
    """Return why a label of the configuration reached at a step is due, or None."""
    if audits.is_audit(step, origin):
        return "audit"
    return "warmup" if warmup.asks(n_counted, steps_since_label) else None
