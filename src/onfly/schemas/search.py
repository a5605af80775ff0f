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
    run_id: str = Field(description="The run that made it.")
    model_id: str | None = Field(None, description="Of the published model.")
    state: ModelState = Field(description="ready: the labels at the end agree.")
    sentence: str = Field(description="What is proven, in words.")
    stop_reason: str = Field(description="Why the run ended, in words.")
    foundation_model: str = Field(description="Name or path of the foundation potential.")
    labeller: str = Field(description="Name of the maker that labelled.")
    threshold_ev: float | None = Field(None, description="Tolerance of the energy, eV.")
    fmax: float = Field(description="Largest force that was asked for (eV/Å).")
    n_labels: int = Field(description="Computed for the run, each counted once.")
    n_waits: int = Field(description="Rounds of labels that followed one another.")
    n_steps: int = Field(description="Steps on the model, over all trajectories.")
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work, s.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When the run ended, UTC."
    )


class RelaxedDoc(BaseModel):
    """One relaxed configuration. Energies are on the labeller's scale.

    Examples
    --------
    >>> from onfly.testing.models import crystal
    >>> said = {"predicted_energy": -1.0, "predicted_std": 0.01}
    >>> RelaxedDoc(structure=crystal(), n_steps=12, **said).energy is None
    True
    """

    structure: StructureOrMolecule = Field(description="The relaxed configuration.")
    predicted_energy: float = Field(description="By the published model (eV).")
    predicted_std: float = Field(description="Calibrated std of it (eV).")
    energy: float | None = Field(None, description="By its label (eV); None if it has none.")
    largest_force: float | None = Field(
        None, description="By its label (eV/Å); with the cell, as `fmax` counts it."
    )
    forces: list[list[float]] | None = Field(None, description="By its label (eV/Å).")
    stress: list[list[float]] | None = Field(None, description="By its label (eV/Å³).")
    n_steps: int = Field(description="Steps of the optimizer.")


class RelaxationDoc(_SearchDoc):
    """The relaxations of one run.

    Energies are in eV, forces in eV/Å.

    Examples
    --------
    >>> RelaxationDoc.model_fields["relaxed"].description
    'One for each structure, in order.'
    """

    doc_type: Literal["relaxation"] = "relaxation"
    structure: StructureOrMolecule = Field(description="The first relaxed configuration.")
    energy: float | None = Field(None, description="Of it, by its label (eV).")
    cell: bool = Field(description="Whether the cell was relaxed as well.")
    relaxed: list[RelaxedDoc] = Field(description="One for each structure, in order.")


class BarrierValue(BaseModel):
    """A barrier, in eV.

    Examples
    --------
    >>> BarrierValue(predicted=0.41, std=0.02, interval=0.05).labelled is None
    True
    """

    labelled: float | None = Field(
        None, description="Difference of the labels at saddle and end; None if one is missing."
    )
    predicted: float = Field(description="By the published model.")
    std: float = Field(description="Calibrated std of the prediction.")
    interval: float = Field(description="Half width of its central interval of 95 %.")


class ImageDoc(BaseModel):
    """One image of a path.

    Examples
    --------
    >>> from onfly.testing.models import crystal
    >>> ImageDoc(length=0.0, predicted=0.0, std=0.0, structure=crystal()).labelled is None
    True
    """

    length: float = Field(description="Of the path up to the image (Å).")
    predicted: float = Field(description="Energy above the first image by the model (eV).")
    std: float = Field(description="Calibrated std of it (eV).")
    labelled: float | None = Field(
        None, description="Energy above the first image by the labels (eV); None without a label."
    )
    structure: StructureOrMolecule = Field(description="The configuration.")


class BarrierDoc(_SearchDoc):
    """A path between two minima, and its barriers.

    Energies are in eV, forces in eV/Å, lengths in Å.

    Examples
    --------
    >>> BarrierDoc.model_fields["saddle"].description
    'Index of the highest image.'
    """

    doc_type: Literal["barrier"] = "barrier"
    forward: BarrierValue = Field(description="From the first image to the saddle.")
    backward: BarrierValue = Field(description="From the last image to the saddle.")
    saddle: int = Field(description="Index of the highest image.")
    saddle_force: float | None = Field(
        None, description="Largest force at the saddle by its label (eV/Å)."
    )
    images: list[ImageDoc] = Field(description="In the order of the path, ends included.")
