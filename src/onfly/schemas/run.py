"""The state of one on-the-fly run: small, without blobs, enough to go on from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, ConfigDict, Field

from onfly.schemas.artifact import ArtifactRef, EnsembleDoc
from onfly.schemas.label import LabelReason

__all__ = ["CalibrationDoc", "PendingLabel", "RunDoc", "RunPhase"]

RunPhase = Literal[
    "initial", "segment", "label", "calibrate", "update", "publish", "done", "stopped"
]


class CalibrationDoc(BaseModel):
    """Sufficient statistics of the calibration (see ``onfly.bayes.Calibration``)."""

    model_config = ConfigDict(frozen=True)

    shape: float
    rate: float
    n: float = 0.0
    sum_z2: float = 0.0
    mode: Literal["mean", "ema"] = "mean"
    decay: float = 1.0
    surprise: float = 0.0


class PendingLabel(BaseModel):
    """A label that was asked for and has not come yet."""

    model_config = ConfigDict(frozen=True)

    index: int
    reason: LabelReason
    md_step: int
    structure: ArtifactRef = Field(description="The configuration, as the MD state's npz file.")
    attempt: int = Field(0, description="1 after a failure: asked again with a more careful SCF.")
    detail: str | None = Field(None, description="What a guard found.")
    predicted_energy: float | None = Field(None, description="On the DFT scale (eV).")
    predicted_std: float | None = None
    probability: float | None = None


class RunDoc(StructureMetadata):
    """One run between two of its jobs. Constant size: histories live in the labels and logs."""

    doc_type: Literal["run"] = "run"
    run_id: str
    campaign: str | None = None
    phase: RunPhase = "initial"
    foundation_model: str
    labeller: str = ""
    threshold_ev: float
    settings: dict[str, Any] = Field(description="All settings of the run, as given.")
    seed: int = 0
    energy_key: str = Field("e_fr_energy", description="Which energy of the labels; see LabelDoc.")
    max_force: float = Field(50.0, description="Labels with larger forces are refused (eV/Å).")
    max_failures: int = Field(3, description="Failed labels and explosions before the run stops.")

    iteration: int = Field(0, description="Segments so far.")
    md_step: int = 0
    n_steps_total: int = 0
    md_state: ArtifactRef | None = None
    ensemble: EnsembleDoc | None = None
    calibration: CalibrationDoc
    pending: PendingLabel | None = None
    energy_offset: float | None = Field(None, description="E_foundation - E_DFT of label 0 (eV).")
    input_hash: str | None = Field(
        None, description="Settings of label 0; later labels must agree."
    )

    n_labels: int = 0
    n_interventions: int = 0
    n_audits: int = 0
    n_audits_within: int = 0
    n_failures: int = 0
    last_label_step: int = 0
    last_label_dir: str | None = Field(None, description="For a warm start of the next label.")
    last_intervention_step: int = 0
    audits_since_update: int = 0
    audits_within_since_update: int = 0
    failures: list[str] = Field(default_factory=list, description="The last few, in words.")
    stop_reason: str | None = None
    model_id: str | None = None
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work.")
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
