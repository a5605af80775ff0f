"""What a report reads of the record of an update."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ChainRecord", "TrainingRecord"]


class ChainRecord(BaseModel):
    """Values of a chain along its steps; what is unknown is None."""

    model_config = ConfigDict(extra="allow")

    step: list[float] = Field(default_factory=list)
    log_likelihood: list[float | None] = Field(default_factory=list)
    log_prior: list[float | None] = Field(default_factory=list)


class TrainingRecord(BaseModel):
    """A file of the folder ``training``."""

    model_config = ConfigDict(extra="allow")

    generation: int
    n_labels: int | None = None
    seconds: float | None = None
    drift: float | None = None
    chains: list[ChainRecord] = Field(default_factory=list)
