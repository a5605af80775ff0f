"""A published fine-tuned model: what is needed to find it, to judge it and to load it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, Field

from onfly.schemas.artifact import EnsembleDoc
from onfly.schemas.run import CalibrationDoc
from onfly.schemas.types import StructureOrMolecule

__all__ = ["ErrorStatistics", "FineTunedModelDoc", "WeightsBlob"]


class WeightsBlob(BaseModel):
    """Weights as text, since GridFSStore turns bytes into a repr: base64 of a safetensors file."""

    sha256: str = Field(description="Of the decoded safetensors file.")
    nbytes: int
    encoding: Literal["base64"] = "base64"
    chunks: list[str] = Field(description="The file in pieces, each base64.")


class ErrorStatistics(BaseModel):
    """Errors of energies predicted before the label was learned (eV)."""

    n: int = 0
    within_threshold: int = 0
    rmse: float | None = None
    max_abs: float | None = None
    foundation_rmse: float | None = Field(None, description="Of the unchanged foundation model.")
    force_rmse: float | None = Field(None, description="eV/Å")
    foundation_force_rmse: float | None = Field(None, description="eV/Å")


class FineTunedModelDoc(StructureMetadata):
    """One fine-tuned model of one compound."""

    doc_type: Literal["model"] = "model"
    model_id: str
    run_id: str
    campaign: str | None = None
    state: Literal["ready", "unproven", "stopped"] = Field(
        description="ready: audits prove the accuracy; unproven: audits are too few or not good "
        "enough; stopped: see reason."
    )
    stop_reason: str
    structure: StructureOrMolecule = Field(description="The structure the run started from.")
    foundation_model: str
    foundation_sha256: str | None = None
    labeller: str
    level_of_theory: str | None = None
    input_hash: str | None = None
    threshold_ev: float
    temperature_range: tuple[float, float] | None = Field(None, description="K")
    pressure_range: tuple[float, float] | None = Field(None, description="kbar")
    n_steps: int
    simulated_time_fs: float

    energy_offset: float
    n_labels: int
    n_audits: int
    n_audits_within: int
    coverage: float | None = None
    coverage_interval: tuple[float, float] | None = Field(
        None, description="95 %, Clopper-Pearson."
    )
    calibration: CalibrationDoc
    interventions: ErrorStatistics = Field(default_factory=ErrorStatistics)
    audits: ErrorStatistics = Field(default_factory=ErrorStatistics)
    drift: float | None = Field(
        None, description="RMS change of the weights from the foundation, in prior stds."
    )
    ensemble: EnsembleDoc
    weights: list[WeightsBlob] | None = Field(
        None, description="Members' weights; goes to the additional store `data`."
    )
    settings: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    cpu_seconds: dict[str, float] = Field(default_factory=dict)
    report_path: str | None = None
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
