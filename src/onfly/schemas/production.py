"""One production run with a fine-tuned model: where its files are, and how sure the model was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, Field

from onfly.schemas.artifact import ArtifactRef
from onfly.schemas.types import StructureOrMolecule
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["Excursion", "ProductionDoc"]


class Excursion(BaseModel):
    """Successive steps at which the model was less sure than was asked for.

    The std is in eV.

    Examples
    --------
    >>> found = Excursion(first_step=9, last_step=12, max_probability=0.1, max_energy_std=0.02)
    >>> found.last_step
    12
    """

    first_step: int = Field(description="MD step at which it begins.")
    last_step: int = Field(description="MD step at which it ends.")
    max_probability: float = Field(description="Largest P(error > tolerance) in it.")
    max_energy_std: float = Field(description="Largest uncalibrated std of the energy (eV).")


class ProductionDoc(StructureMetadata):
    """One production run. Trajectory and log are files; the document holds no arrays.

    Energies are in eV, temperatures in K, times in fs.

    Examples
    --------
    >>> ProductionDoc.model_fields["n_watched"].description
    'Steps at which the uncertainty was evaluated.'
    """

    doc_type: Literal["production"] = "production"
    doc_version: DocVersion = DOC_VERSION
    production_id: str = Field(description="Identifier of the flow.")
    index: int = Field(description="Number of the run among those of one flow, from 0.")
    model_id: str | None = Field(description="None if the model was not published.")
    source_run_id: str = Field(description="The run that made the model.")
    updated_model_id: str | None = Field(
        None, description="Published from the ensemble at the end, if the run added labels."
    )
    state: Literal["finished", "stopped"] = Field(description="Whether all steps were taken.")
    stop_reason: str = Field(description="Why it ended, in words.")

    predictor: Literal["mean", "member"] = Field(
        description="Whether the mean or one member was the force field."
    )
    member: int | None = Field(None, description="The member that was the force field.")
    monitor_interval: int = Field(1, description="MD steps between two looks at the uncertainty.")
    on_uncertain: Literal["stop", "warn", "label"] = Field(
        description="What an uncertain step did."
    )
    threshold_ev: float | None = Field(
        None, description="Tolerance of the energy of the cell, eV; None without one."
    )
    tolerances: list[dict[str, Any]] = Field(
        default_factory=list, description="What was watched: quantity, value, scope."
    )
    max_probability: float = Field(description="Of an error above it.")
    seed: int = Field(description="Of the random streams.")
    stages: list[dict[str, Any]] = Field(description="Equilibration and production, in order.")
    n_equilibration_steps: int = Field(description="Steps to leave out of averages.")
    n_steps: int = Field(description="MD steps done.")
    simulated_time_fs: float = Field(description="Simulated time.")

    folder: str = Field(description="Relative to the artifact directory, as all paths here.")
    trajectory_files: list[str] = Field(description="Frames, extxyz.")
    thermo_files: list[str] = Field(description="Logs, CSV.")
    stopped_at: ArtifactRef | None = Field(
        None, description="Configuration at which the run stopped, as the MD state's npz file."
    )
    final_structure: StructureOrMolecule = Field(description="The last configuration.")

    n_watched: int = Field(description="Steps at which the uncertainty was evaluated.")
    n_uncertain: int = Field(description="Of these, steps beyond the probability.")
    n_excursions: int = Field(description="Stretches of uncertain steps.")
    excursions: list[Excursion] = Field(description="The first 1000.")
    n_labels_added: int = Field(0, description="Labels that the run paid for.")
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work, s.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it ended, UTC."
    )
