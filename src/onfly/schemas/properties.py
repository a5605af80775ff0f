"""Properties of a crystal by a fine-tuned model, beside the foundation's and the labeller's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from onfly.schemas.types import StructureOrMolecule
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["PropertiesDoc", "PropertyDoc", "PropertyValueDoc"]


class PropertyValueDoc(BaseModel):
    """One number.

    Examples
    --------
    >>> PropertyValueDoc(name="B0", unit="GPa", value=134.0, std=4.0, labeller=138.0).z
    -1.0
    """

    name: str = Field(description="Such as B0, C11 or X lowest.")
    unit: str = Field(description="Of value, std and the others.")
    value: float | None = Field(description="By the mean of the posterior.")
    std: float | None = Field(
        None,
        description="Half width of the central interval that should hold the labeller's value "
        "with a probability of 68.3 %; None where the posterior has no spread.",
    )
    foundation: float | None = Field(None, description="By the unchanged foundation model.")
    labeller: float | None = Field(None, description="By the labeller, if it was asked.")

    @property
    def z(self) -> float | None:
        """Error over error bar; None where one of them is unknown."""
        if self.value is None or self.labeller is None or not self.std:
            return None
        return (self.value - self.labeller) / self.std


class PropertyDoc(BaseModel):
    """All numbers of one property, and what a figure needs.

    Examples
    --------
    >>> modulus = PropertyValueDoc(name="B0", unit="GPa", value=134.0)
    >>> PropertyDoc(kind="eos", values=[modulus]).n_draws
    0
    """

    kind: str = Field(description="eos, elastic, phonon or md.")
    values: list[PropertyValueDoc] = Field(default_factory=list, description="One for each number.")
    n_draws: int = Field(0, description="Draws whose spread makes the error bars.")
    factor: float = Field(1.0, description="By which calibration and clustering widen that spread.")
    calibrated_by: str | None = Field(
        None, description="Errors that the factor comes from: energy, forces or stress."
    )
    curves: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Arrays of model, std, foundation and labeller, each by name.",
    )
    problems: list[str] = Field(default_factory=list, description="What could not be measured.")


class PropertiesDoc(BaseModel):
    """What was measured of one model in one crystal.

    Examples
    --------
    >>> PropertiesDoc(properties=[PropertyDoc(kind="eos")]).of("eos").kind
    'eos'
    """

    doc_version: DocVersion = DOC_VERSION
    model_id: str | None = Field(None, description="Of the model.")
    structure: StructureOrMolecule | None = Field(
        None, description="Primitive cell, relaxed by the model."
    )
    properties: list[PropertyDoc] = Field(default_factory=list, description="One for each kind.")
    problems: list[str] = Field(default_factory=list, description="Why nothing was measured.")
    n_labels: int = Field(0, description="Single points that were asked of the labeller.")
    seconds: float = Field(0.0, description="Wall time.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was measured, UTC."
    )

    def of(self, kind: str) -> PropertyDoc | None:
        """Return a property; None if it was not measured."""
        return next((p for p in self.properties if p.kind == kind), None)
