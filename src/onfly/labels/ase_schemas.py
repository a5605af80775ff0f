"""Task documents of `AseLabelMaker`: atomate2's, and which calculator with which settings."""

from __future__ import annotations

from typing import Any

from atomate2.ase.schemas import AseMoleculeTaskDoc, AseStructureTaskDoc
from pydantic import BaseModel, Field

__all__ = ["AseLabelMoleculeTaskDoc", "AseLabelTaskDoc", "CalculatorMeta"]


class CalculatorMeta(BaseModel):
    """What defines the potential energy surface of an ASE calculator."""

    calculator: str | None = Field(None, description="Dotted name of the calculator class.")
    calculator_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Its keyword arguments."
    )
    calculator_version: str | None = Field(None, description="Version of its distribution.")
    free_energy: float | None = Field(
        None, description="Force-consistent energy in eV, if the calculator knows it apart."
    )


class AseLabelTaskDoc(AseStructureTaskDoc, CalculatorMeta):
    """Single point of a crystal."""


class AseLabelMoleculeTaskDoc(AseMoleculeTaskDoc, CalculatorMeta):
    """Single point of a molecule."""
