"""When a run may end before its stages are done, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass

from monty.json import MSONable

__all__ = ["StoppingRule"]


@dataclass(frozen=True)
class StoppingRule(MSONable):
    """Calls that die out prove nothing, so quiet steps count only together with good audits.

    Parameters
    ----------
    quiet_steps
        MD steps without a call after which the run may end early; None waits for all stages.
    min_audits
        Audits since the last change of the weights that are needed to call a model ready.
    min_coverage
        Fraction of these that must lie within the threshold.
    max_labels
        Stop when that many labels have been paid; None for no limit.
    """

    quiet_steps: int | None = None
    min_audits: int = 10
    min_coverage: float = 0.95
    max_labels: int | None = None

    def __post_init__(self) -> None:
        if self.quiet_steps is not None and self.quiet_steps < 1:
            raise ValueError("quiet_steps must be positive, or null to wait for all stages")
        if not 0 < self.min_coverage <= 1:
            raise ValueError(f"min_coverage {self.min_coverage} is not between 0 and 1")

    def audits_good(self, n_audits: int, n_within: int) -> bool:
        """Whether the audits of the present weights prove the accuracy."""
        return n_audits >= self.min_audits and n_within >= self.min_coverage * n_audits

    def early_stop(
        self, steps_since_call: int, n_audits: int, n_within: int, n_labels: int
    ) -> str | None:
        """Return the reason to stop before the stages are done, or None."""
        if self.max_labels is not None and n_labels >= self.max_labels:
            return f"the limit of {self.max_labels} labels is reached"
        quiet = self.quiet_steps is not None and steps_since_call >= self.quiet_steps
        if quiet and self.audits_good(n_audits, n_within):
            return f"no call for {steps_since_call} steps and {n_within} of {n_audits} audits good"
        return None
