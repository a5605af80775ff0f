"""What came of a relaxation or of a path: configurations, labels, and what the model says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, Field

from onfly.schemas.model import ModelState
from onfly.schemas.types import StructureOrMolecule
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["BarrierDoc", "BarrierValue", "ImageDoc", "RelaxationDoc", "RelaxedDoc"]


class _SearchDoc(StructureMetadata):
    """What both documents say of their run."""

    doc_version: DocVersion = DOC_VERSION
    run_id: str
    model_id: str | None = None
    state: ModelState = Field(description="ready: the labels at the end agree.")
    sentence: str = Field(description="What is proven, in words.")
    stop_reason: str
    foundation_model: str
    labeller: str
    threshold_ev: float | None = Field(None, description="Tolerance of the energy, eV.")
    fmax: float = Field(description="Largest force that was asked for (eV/Å).")
    n_labels: int = Field(description="Computed for the run, each counted once.")
    n_waits: int = Field(description="Rounds of labels that followed one another.")
    n_steps: int = Field(description="Steps on the model, over all trajectories.")
    cpu_seconds: dict[str, float] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class RelaxedDoc(BaseModel):
    """One relaxed configuration. Energies are on the labeller's scale."""

    structure: StructureOrMolecule
    predicted_energy: float = Field(description="By the published model (eV).")
    predicted_std: float = Field(description="Calibrated std of it (eV).")
    energy: float | None = Field(None, description="By its label (eV); None if it has none.")
    largest_force: float | None = Field(
        None, description="By its label (eV/Å); with the cell, as `fmax` counts it."
    )
    forces: list[list[float]] | None = Field(None, description="By its label (eV/Å).")
    stress: list[list[float]] | None = Field(None, description="By its label (eV/Å³).")
    n_steps: int


class RelaxationDoc(_SearchDoc):
    """The relaxations of one run."""

    doc_type: Literal["relaxation"] = "relaxation"
    structure: StructureOrMolecule = Field(description="The first relaxed configuration.")
    energy: float | None = Field(None, description="Of it, by its label (eV).")
    cell: bool = Field(description="Whether the cell was relaxed as well.")
    relaxed: list[RelaxedDoc] = Field(description="One for each structure, in order.")


class BarrierValue(BaseModel):
    """A barrier, in eV."""

    labelled: float | None = Field(
        None, description="Difference of the labels at saddle and end; None if one is missing."
    )
    predicted: float = Field(description="By the published model.")
    std: float = Field(description="Calibrated std of the prediction.")
    interval: float = Field(description="Half width of its central interval of 95 %.")


class ImageDoc(BaseModel):
    """One image of a path."""

    length: float = Field(description="Of the path up to the image (Å).")
    predicted: float = Field(description="Energy above the first image by the model (eV).")
    std: float = Field(description="Calibrated std of it (eV).")
    labelled: float | None = Field(
        None, description="Energy above the first image by the labels (eV); None without a label."
    )
    structure: StructureOrMolecule


class BarrierDoc(_SearchDoc):
    """A path between two minima, and its barriers."""

    doc_type: Literal["barrier"] = "barrier"
    forward: BarrierValue
    backward: BarrierValue
    saddle: int = Field(description="Index of the highest image.")
    saddle_force: float | None = Field(
        None, description="Largest force at the saddle by its label (eV/Å)."
    )
    images: list[ImageDoc]
