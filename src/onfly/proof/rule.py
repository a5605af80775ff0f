"""What is to be proven, and what the proof costs."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from onfly.proof.looks import Look, expected_audits, pass_probability, plan_looks

__all__ = ["ProofCost", "ProofRule"]


class ProofCost(NamedTuple):
    """Audits of closing blocks, and the rounds of labels that are waited for one after another.

    Attributes
    ----------
    least_audits, most_audits
        Audits of a first block that passes at once, and of all blocks.
    least_waits, most_waits
        Rounds of labels that follow one another, likewise.

    Examples
    --------
    >>> ProofRule(attempts=1, spend=1).cost()
    ProofCost(least_audits=31, most_audits=54, least_waits=1, most_waits=2)
    """

    least_audits: int
    """The first look of the first block passes."""
    most_audits: int
    """Every look of every block is needed."""
    least_waits: int
    """Rounds of labels in the first case."""
    most_waits: int
    """Rounds of labels in the second."""


class ProofRule(BaseModel):
    """A coverage to be proven at a confidence, by closing blocks of audits.

    A closing block tests one set of weights. Its looks are fixed before it begins: the audits of
    the first one are labelled side by side; without a failure the block has passed. If some
    failed, but no more than `failures`, the reserve of the next look decides.

    Every block tests new weights, so every one could pass by luck. The probability of that,
    ``1 - confidence`` for the whole run, is divided among the blocks: block a may spend
    ``(1 - confidence) * spend * (1 - spend)**a``. The sum over any number of blocks stays below
    ``1 - confidence``, so `attempts` may be raised later without weakening what was said.

    Raises
    ------
    ValueError
        If a field is out of range, or nothing is left to spend for a second block.

    References
    ----------
    C. Jennison and B. W. Turnbull, Group Sequential Methods (2000), chapters 7 and 8; the page
    "What ready proves" of the documentation.

    Examples
    --------
    >>> rule = ProofRule(coverage=0.9, confidence=0.95)
    >>> rule.looks(0)
    (Look(n=33, failures=0), Look(n=57, failures=1))
    >>> rule.cost()
    ProofCost(least_audits=33, most_audits=227, least_waits=1, most_waits=6)
    >>> ProofRule(failures=0, attempts=1, spend=1).looks(0)
    (Look(n=29, failures=0),)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coverage: float = Field(
        0.9, gt=0, lt=1, description="share of the steps on which all tolerances must hold"
    )
    confidence: float = Field(
        0.95, gt=0, lt=1, description="probability that a run is not called ready below it"
    )
    failures: int = Field(
        1, ge=0, le=5, description="audits that may fail in a closing block, one look for each"
    )
    attempts: int = Field(3, ge=1, description="closing blocks before a run gives up")
    spend: float = Field(
        0.8,
        gt=0,
        le=1,
        description="part of the error probability for the first block, and of the rest for each "
        "further one",
    )
    first_look: float = Field(
        0.8, gt=0, lt=1, description="part of a block's error probability for its first look"
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> ProofRule:
        if self.attempts > 1 and self.spend == 1:
            raise ValueError("spend: 1 leaves nothing for a second block; set attempts: 1 as well")
        return self

    def alpha(self, attempt: int) -> float:
        """Return the probability with which a worse model may pass this block.

        Raises
        ------
        ValueError
            There is no such block.
        """
        if attempt < 0:
            raise ValueError(f"closing blocks are counted from 0, not {attempt}")
        alpha = (1 - self.confidence) * self.spend * (1 - self.spend) ** attempt
        if alpha <= 0:
            raise ValueError(f"nothing is left to spend for closing block {attempt}")
        return alpha

    def looks(self, attempt: int) -> tuple[Look, ...]:
        """Return the looks of a closing block."""
        return plan_looks(self.coverage, self.alpha(attempt), self.failures, self.first_look)

    def block_size(self, attempt: int) -> int:
        """Return the number of steps to draw for a closing block, its reserve included."""
        return self.looks(attempt)[-1].n

    def total_at_most(self) -> int:
        """Return the audits of all blocks with all their reserves."""
        return sum(self.block_size(attempt) for attempt in range(self.attempts))

    def cost(self) -> ProofCost:
        """Return the least and the most that the proof costs."""
        return ProofCost(
            least_audits=self.looks(0)[0].n,
            most_audits=self.total_at_most(),
            least_waits=1,
            most_waits=sum(len(self.looks(attempt)) for attempt in range(self.attempts)),
        )

    def power(self, coverage: float, attempt: int = 0) -> float:
        """Return the chance of a model of this true coverage to pass a block.

        Examples
        --------
        >>> round(ProofRule().power(0.99), 2)
        0.91
        """
        return pass_probability(self.looks(attempt), coverage)

    def expected_audits(self, coverage: float, attempt: int = 0) -> float:
        """Return the mean number of audits of a block for a model of this true coverage."""
        return expected_audits(self.looks(attempt), coverage)[0]
