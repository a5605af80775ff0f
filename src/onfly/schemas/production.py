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
    """Successive steps at which the model was less sure than was asked for."""

    first_step: int
    last_step: int
    max_probability: float = Field(description="Largest P(error > tolerance) in it.")
    max_energy_std: float = Field(description="Largest uncalibrated std of the energy (eV).")


class ProductionDoc(StructureMetadata):
    """One production run. Trajectory and log are files; the document holds no arrays."""

    doc_type: Literal["production"] = "production"
    doc_version: DocVersion = DOC_VERSION
    production_id: str
    index: int = Field(description="Number of the run among those of one flow, from 0.")
    model_id: str | None = Field(description="None if the model was not published.")
    source_run_id: str = Field(description="The run that made the model.")
    updated_model_id: str | None = Field(
        None, description="Published from the ensemble at the end, if the run added labels."
    )
    state: Literal["finished", "stopped"]
    stop_reason: str

    predictor: Literal["mean", "member"]
    member: int | None = Field(None, description="The member that was the force field.")
    monitor_interval: int = Field(1, description="MD steps between two looks at the uncertainty.")
    on_uncertain: Literal["stop", "warn", "label"]
    threshold_ev: float | None = Field(
        None, description="Tolerance of the energy of the cell, eV; None without one."
    )
    tolerances: list[dict[str, Any]] = Field(
        default_factory=list, description="What was watched: quantity, value, scope."
    )
    max_probability: float
    seed: int
    stages: list[dict[str, Any]] = Field(description="Equilibration and production, in order.")
    n_equilibration_steps: int = Field(description="Steps to leave out of averages.")
    n_steps: int
    simulated_time_fs: float

    folder: str = Field(description="Relative to the artifact directory, as all paths here.")
    trajectory_files: list[str]
    thermo_files: list[str]
    stopped_at: ArtifactRef | None = Field(
        None, description="Configuration at which the run stopped, as the MD state's npz file."
    )
    final_structure: StructureOrMolecule

    n_watched: int = Field(description="Steps at which the uncertainty was evaluated.")
    n_uncertain: int = Field(description="Of these, steps beyond the probability.")
    n_excursions: int
    excursions: list[Excursion] = Field(description="The first 1000.")
    n_labels_added: int = 0
    cpu_seconds: dict[str, float] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
