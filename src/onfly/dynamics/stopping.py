"""When a run may end before its stages are done, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monty.json import MSONable

from onfly.dynamics.stages import MDStage

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
    closing_steps
        After the stages, MD goes on under the conditions of the last stage for at most that many
        steps until there are `min_audits` of the final weights: a late update leaves no audits
        otherwise. Whether audits are enough is decided by their number, not by their outcome.
    max_labels
        Stop when the run has asked for that many labels, the first one included; None for no limit.
        Seeds, which earlier runs have paid for, do not count. A label that was found again does:
        what is in the store of labels must not change where a run ends.
    """

    quiet_steps: int | None = None
    min_audits: int = 10
    min_coverage: float = 0.95
    closing_steps: int = 0
    max_labels: int | None = None

    def __post_init__(self) -> None:
        if self.quiet_steps is not None and self.quiet_steps < 1:
            raise ValueError("quiet_steps must be positive, or null to wait for all stages")
        if self.closing_steps < 0:
            raise ValueError(f"closing_steps {self.closing_steps} is negative")
        if not 0 < self.min_coverage <= 1:
            raise ValueError(f"min_coverage {self.min_coverage} is not between 0 and 1")

    def audits_good(self, n_audits: int, n_within: int) -> bool:
        """Whether the audits of the present weights prove the accuracy."""
        return n_audits >= self.min_audits and n_within >= self.min_coverage * n_audits

    def closed(self, step: int, n_steps: int, n_audits: int) -> bool:
        """Whether the stages of together `n_steps` are done and need no closing audits (more)."""
        return step >= n_steps and (self.closing_steps == 0 or n_audits >= self.min_audits)

    def with_closing(self, stages: Sequence[MDStage]) -> list[MDStage]:
        """Return the stages with the closing one."""
        if self.closing_steps == 0:
            return list(stages)
        last = stages[-1]
        end = last.temperature_at(last.n_steps)
        return [*stages, last.evolve(n_steps=self.closing_steps, temperature=end)]

    def early_stop(
        self, steps_since_call: int, n_audits: int, n_within: int, n_labels: int
    ) -> str | None:
        """Return the reason to stop before the stages are done, or None (`n_labels`: no seeds)."""
        if self.max_labels is not None and n_labels >= self.max_labels:
            return f"the limit of {self.max_labels} labels is reached"
        quiet = self.quiet_steps is not None and steps_since_call >= self.quiet_steps
        if quiet and self.audits_good(n_audits, n_within):
            return f"no call for {steps_since_call} steps and {n_within} of {n_audits} audits good"
        return None
