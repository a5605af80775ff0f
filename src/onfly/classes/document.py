"""The document of a class model: what it was made of, what was measured, where its weights are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from onfly.schemas import ArtifactRef, WeightsBlob
from onfly.schemas.version import DOC_VERSION, DocVersion
from onfly.spec import FoundationSpec
from onfly.spec.classes import ClassFitSpec

__all__ = ["BreadthDoc", "ClassCompoundDoc", "ClassModelDoc", "HeldOutDoc"]


class ClassCompoundDoc(BaseModel):
    """A compound whose labels were learned.

    Examples
    --------
    >>> ClassCompoundDoc.model_fields["offset"].description
    'Foundation minus label energy that the shifts of the elements leave unexplained, eV/atom.'
    """

    n_labels: int = Field(description="Labels that were learned.")
    offset: float = Field(
        description="Foundation minus label energy that the shifts of the elements leave "
        "unexplained, eV/atom."
    )
    energy_rmse: float = Field(description="Of the labels after the fit, offsets added, eV/atom.")
    energy_rmse_before: float = Field(description="The same of the foundation, eV/atom.")
    force_rmse: float = Field(description="Of the labels after the fit, eV/Å.")
    force_rmse_before: float = Field(description="The same of the foundation, eV/Å.")


class HeldOutDoc(BaseModel):
    """What was measured by leaving compounds out of the fit.

    Examples
    --------
    >>> HeldOutDoc.model_fields["energy_rmse_before"].description
    'The same of the foundation, eV/atom.'
    """

    n_folds: int = Field(description="Fits that left compounds out.")
    n_compounds: int = Field(description="Compounds that were left out once.")
    energy_rmse: float = Field(
        description="Of compounds that were left out, mean of each compound removed, eV/atom."
    )
    energy_rmse_before: float = Field(description="The same of the foundation, eV/atom.")
    force_rmse: float = Field(description="Of compounds that were left out, eV/Å.")
    force_rmse_before: float = Field(description="The same of the foundation, eV/Å.")
    n_learning: int = Field(
        0, description="Left-out compounds that learned their first labels, for the two below."
    )
    width_ratio: float | None = Field(
        None,
        description="How far the weights move for these labels from the class model, as a part of "
        "how far they move from the foundation; median.",
    )
    scale_factor: float | None = Field(
        None, description="RMS error over predicted std of the labels that follow."
    )


class BreadthDoc(BaseModel):
    """How far predictions moved from the foundation's where nothing was to be learned.

    Examples
    --------
    >>> BreadthDoc.model_fields["force_change"].description
    'RMS change of the force components, eV/Å.'
    """

    n_structures: int = Field(description="Crystals of other elements.")
    force_rms: float = Field(description="RMS force component of the foundation, eV/Å.")
    force_change: float = Field(description="RMS change of the force components, eV/Å.")
    energy_change: float = Field(description="RMS change of the energy, eV/atom.")
    n_wall: int = Field(description="Pairs of atoms at short distance.")
    wall_energy_change: float | None = Field(
        None, description="RMS change of the energy that rises towards short distances, eV."
    )
    wall_kept: float | None = Field(
        None, description="Share of the pairs whose energy still rises where the foundation's does."
    )
    given: int = Field(0, description="Structures with labels that the user gave.")
    given_force_rmse_before: float | None = Field(
        None, description="Error of the foundation on them, eV/Å."
    )
    given_force_rmse: float | None = Field(None, description="Error of the class model, eV/Å.")
    given_energy_rmse_before: float | None = Field(
        None, description="Error of the foundation, mean of each compound removed, eV/atom."
    )
    given_energy_rmse: float | None = Field(None, description="Of the class model, eV/atom.")


class ClassModelDoc(BaseModel):
    """One version of a class model, which never changes.

    Examples
    --------
    >>> ClassModelDoc.model_fields["class_id"].description
    '``NAME@VERSION``.'
    """

    doc_type: Literal["class_model"] = "class_model"
    doc_version: DocVersion = DOC_VERSION
    class_id: str = Field(description="``NAME@VERSION``.")
    name: str = Field(description="Of the class.")
    version: int = Field(description="From 1.")
    fingerprint: str = Field(description="sha256 of all that the weights depend on.")
    foundation: FoundationSpec = Field(description="What the fit started from.")
    foundation_sha256: str | None = Field(None, description="Of its file, if it came from one.")
    parents: list[str] = Field(description="Models that the weights descend from.")
    licences: dict[str, str] = Field(
        default_factory=dict, description="Of parents and labels, as far as they are known."
    )
    campaign: str | None = Field(None, description="Whose labels were learned.")
    level_of_theory: str = Field(description="Of the labels.")
    energy_keys: list[str] = Field(
        default_factory=list, description="Which energies the labels have."
    )
    input_hashes: list[str] = Field(default_factory=list, description="Of the labels.")
    n_labels: int = Field(description="Labels that were learned.")
    label_ids: list[str] = Field(description="``RUN-INDEX`` of every label.")
    run_ids: list[str] = Field(default_factory=list, description="Runs that paid for them.")
    elements: list[str] = Field(description="Of the labels; the model knows its foundation's.")
    compounds: dict[str, ClassCompoundDoc] = Field(description="By reduced formula.")
    excluded: list[str] = Field(
        default_factory=list, description="Compounds of which no label was used."
    )
    left_out: dict[str, int] = Field(
        default_factory=dict, description="Labels that did not fit, by why."
    )
    element_offsets: dict[str, float] = Field(
        description="Foundation minus label energy of one atom by element, eV."
    )
    n_replay: int = Field(description="Configurations with predictions of the foundation.")
    prior_std: float = Field(description="σ_TL around the class model.")
    fit_prior_std: float = Field(description="σ_TL around the foundation, of the fit.")
    calibration_shape: float = Field(description="Of the Gamma prior of runs from it.")
    calibration_rate: float = Field(description="Of the same prior.")
    measured: bool = Field(
        description="Whether width and calibration were measured by leaving compounds out; else "
        "they are the foundation's."
    )
    held_out: HeldOutDoc | None = Field(None, description="Errors on compounds that were left out.")
    breadth: BreadthDoc | None = Field(None, description="Changes where nothing was learned.")
    drift: float = Field(description="RMS change of the weights, in stds of the fit's prior.")
    settings: ClassFitSpec = Field(description="Of the fit.")
    weights_file: ArtifactRef = Field(description="safetensors file of all parameters.")
    weights: list[WeightsBlob] | None = Field(
        None, description="The same; goes to the additional store `data`."
    )
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work, s.")
    versions: dict[str, str] = Field(
        default_factory=dict, description="Of onfly and the packages that matter."
    )
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was made, UTC."
    )

    @property
    def source(self) -> str:
        """What `foundation_model` takes."""
        return f"class:{self.class_id}"

    def summary(self) -> dict[str, Any]:
        """Return what a list shows."""
        return {
            "class_id": self.class_id,
            "foundation": self.foundation.source,
            "level_of_theory": self.level_of_theory,
            "n_compounds": len(self.compounds),
            "n_labels": self.n_labels,
            "excluded": self.excluded,
            "created_at": self.created_at.isoformat(),
        }
