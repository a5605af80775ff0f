"""What the ledger is made of: one entry per label, and a note whenever a posterior has learned."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

__all__ = ["Learned", "LedgerEntry", "Reason", "Record", "from_line", "to_line"]

Reason = Literal[
    "initial", "seed", "uncertain", "warmup", "guard", "ahead", "audit", "closing", "deciding"
]  #: why a label was computed


class _Record(BaseModel):
    # a prediction that blew up is a fact like any other: NaN and infinity survive the round trip
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class LedgerEntry(_Record):
    """One label: why it was computed, what had been predicted for it, and how wrong that was.

    Raises
    ------
    ValueError
        If the fields contradict each other.

    Examples
    --------
    >>> entry = LedgerEntry(index=0, trajectory=0, step=120, reason="audit", generation=3,
    ...                     mean=-51.2, std=0.01, label="5f1c", errors={"energy": 0.4},
    ...                     error=-0.017)
    >>> entry.within()
    True
    """

    kind: Literal["label"] = "label"
    index: int = Field(ge=0, description="place in the ledger, counted from 0")
    trajectory: int = Field(ge=0, description="number of the trajectory")
    step: int = Field(description="MD step of the trajectory")
    reason: Reason = Field(description="why the label was computed")
    generation: int = Field(
        -1, ge=-1, description="of the ensemble that predicted; -1 if nothing was predicted"
    )
    mean: float | None = Field(None, description="predicted energy (eV), on the labeller's scale")
    std: float | None = Field(None, description="its standard deviation (eV), not calibrated")
    probability: float | None = Field(
        None, description="probability of an error above the tolerance, as the criterion saw it"
    )
    label: str | None = Field(
        None, description="key of the label; None if its calculation failed for good"
    )
    errors: dict[str, float] = Field(
        default_factory=dict,
        description="per tolerance, its name and the largest |error| / tolerance; empty if unknown",
    )
    error: float | None = Field(None, description="predicted minus labelled energy (eV)")
    force_rmse: float | None = Field(None, description="of the predicted forces (eV/Å)")
    foundation_error: float | None = Field(
        None, description="foundation minus labelled energy, with the offset (eV)"
    )
    foundation_force_rmse: float | None = Field(
        None, description="of the unchanged foundation's forces (eV/Å)"
    )
    attempt: int | None = Field(
        None, ge=0, description="closing block that the step belongs to, counted from 0"
    )
    look: int = Field(
        0, ge=0, description="look of the closing block that the step was drawn for, from 0"
    )

    @field_validator("errors")
    @classmethod
    def _ratios(cls, errors: dict[str, float]) -> dict[str, float]:
        for name, ratio in errors.items():
            if ratio < 0:
                raise ValueError(
                    f"the error of tolerance {name!r} is {ratio}: give the largest absolute error "
                    "divided by the tolerance"
                )
        return errors

    @model_validator(mode="after")
    def _belongs_to_a_block(self) -> LedgerEntry:
        if self.reason == "closing" and (self.attempt is None or self.generation < 0):
            raise ValueError(
                "an entry with reason 'closing' needs the number of its block (attempt) and the "
                "generation of the weights that are tested"
            )
        return self

    def within(self) -> bool:
        """Whether all tolerances are known to have been kept.

        False where no error is known: a label that could not be computed proves nothing, and to
        leave it out would count only the steps on which calculations are easy.
        """
        # NaN compares as False, which is what an error that cannot be told should do
        return bool(self.errors) and all(ratio <= 1 for ratio in self.errors.values())

    def worst(self) -> float | None:
        """Return the largest error as a ratio to its tolerance, None where no error is known."""
        if not self.errors:
            return None
        if any(math.isnan(ratio) for ratio in self.errors.values()):
            return math.nan
        return max(self.errors.values())


class Learned(_Record):
    """A posterior has learned all labels with ``index < n_labels``.

    Examples
    --------
    >>> Learned(generation=0, n_labels=8)
    Learned(kind='learned', generation=0, n_labels=8)
    """

    kind: Literal["learned"] = "learned"
    generation: int = Field(ge=0, description="of the posterior that has learned")
    n_labels: int = Field(ge=0, description="labels that it has learned: the first so many")


Record = LedgerEntry | Learned
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def to_line(record: Record) -> str:
    """Return a record as one line of JSON, without the newline.

    Parameters
    ----------
    record
        Of the ledger.

    Returns
    -------
    str
        JSON.

    Examples
    --------
    >>> to_line(Learned(generation=2, n_labels=9))
    '{"kind":"learned","generation":2,"n_labels":9}'
    """
    return record.model_dump_json()


def from_line(line: str) -> Record:
    """Return the record of one line of JSON.

    Parameters
    ----------
    line
        Such as `to_line` writes.

    Returns
    -------
    LedgerEntry or Learned
        What it says.

    Raises
    ------
    pydantic.ValidationError
        The line is no record.

    Examples
    --------
    >>> from_line('{"kind":"learned","generation":2,"n_labels":9}').n_labels
    9
    """
    return _ADAPTER.validate_json(line)
