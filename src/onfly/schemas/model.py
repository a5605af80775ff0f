"""A published fine-tuned model: what is needed to find it, to judge it and to load it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, BeforeValidator, Field

from onfly.schemas.artifact import EnsembleDoc
from onfly.schemas.posterior import CalibrationDoc, ForceCalibrationDoc, StressCalibrationDoc
from onfly.schemas.properties import PropertiesDoc
from onfly.schemas.types import StructureOrMolecule
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = [
    "DOC_VERSION",
    "ErrorStatistics",
    "FineTunedModelDoc",
    "ModelState",
    "WeightsBlob",
    "present_state",
]

# what 0.1 called the models that audits had not proven
_OLD_STATES = {"unproven": "needs more audits"}


def present_state(value: Any) -> Any:
    """Return the present word for a state, also for that of version 0.1."""
    return _OLD_STATES.get(value, value) if isinstance(value, str) else value


ModelState = Annotated[
    Literal["ready", "not accurate enough", "needs more audits", "stopped"],
    BeforeValidator(present_state),
]


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
    """One fine-tuned model of one compound.

    Documents of version 0.1 can be read: what they do not have takes its default, and their state
    ``"unproven"`` becomes ``"needs more audits"``.

    Energies are in eV, temperatures in K, times in fs.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> model = ModelLibrary.from_settings().latest("CuAu")
    >>> model.model_id, model.threshold_ev, model.temperature_range
    ('CuAu-f716e6da3f4e', 0.3, (300.0, 300.0))
    """

    doc_type: Literal["model"] = "model"
    doc_version: DocVersion = Field(
        "0.1", description="Version of this schema; documents of 0.1 do not say it."
    )
    model_id: str = Field(description="Formula and a hash.")
    run_id: str = Field(description="The run that made it.")
    campaign: str | None = Field(None, description="Name of its campaign.")
    state: ModelState = Field(
        description="ready: audits prove the accuracy; not accurate enough: audits refute it; "
        "needs more audits: they are too few to tell; stopped: see stop_reason."
    )
    stop_reason: str = Field(description="Why the run ended, in words.")
    structure: StructureOrMolecule = Field(description="The structure the run started from.")
    foundation_model: str = Field(description="Name or path of the foundation potential.")
    foundation_sha256: str | None = Field(None, description="Of its file, if it came from one.")
    labeller: str = Field(description="Name of the maker that labelled.")
    level_of_theory: str | None = Field(None, description="Of the labels, as the user named it.")
    input_hash: str | None = Field(None, description="Hash of the settings of the labels.")
    threshold_ev: float | None = Field(
        None, description="Tolerance of the energy of the cell, eV; None without one."
    )
    temperature_range: tuple[float, float] | None = Field(None, description="K")
    pressure_range: tuple[float, float] | None = Field(None, description="kbar")
    n_steps: int = Field(description="MD steps of all trajectories.")
    simulated_time_fs: float = Field(description="Simulated time of all trajectories.")

    walkers: int = Field(1, description="Trajectories that shared the posterior.")

    energy_std: float | None = Field(
        None, description="σ_E of the likelihood (eV); None follows from the threshold."
    )
    energy_offset: float = Field(
        description="Foundation minus label energy of the cell in `structure`, in eV. In a cell "
        "of another size it scales with the number of formula units."
    )
    element_offsets: dict[str, float] | None = Field(
        None,
        description="Foundation minus label energy of one atom by element, in eV, aligned over "
        "many compounds. None: energies of other compositions have no zero and are refused.",
    )
    n_labels: int = Field(description="Labels that it was made with.")
    n_waits: int | None = Field(
        None, description="Rounds of labels that followed one another; None if not recorded."
    )
    n_audits: int = Field(description="Labels at random steps.")
    n_audits_within: int = Field(description="Audits that kept all tolerances.")
    coverage: float | None = Field(
        None, description="Share of all audits within; no proof (see `verdict`)."
    )
    coverage_interval: tuple[float, float] | None = Field(
        None, description="95 %, Clopper-Pearson."
    )
    tolerances: list[dict[str, Any]] = Field(
        default_factory=list, description="What the run asked for: quantity, value, scope."
    )
    tolerance_atoms: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="By tolerance of forces, the atoms that it is about."
    )
    verdict: dict[str, Any] | None = Field(
        None,
        description="What is proven: state, coverage, confidence, n_audits, n_failed, sentence. "
        "None in documents of 0.1.",
    )
    proven_generation: int | None = Field(
        None, description="Generation of the weights that the audits of the verdict tested."
    )
    calibration: CalibrationDoc = Field(description="Of energies.")
    force_calibration: ForceCalibrationDoc = Field(
        default_factory=ForceCalibrationDoc, description="Of forces."
    )
    stress_calibration: StressCalibrationDoc = Field(
        default_factory=StressCalibrationDoc, description="Of stresses."
    )
    interventions: ErrorStatistics = Field(
        default_factory=ErrorStatistics,
        description="Errors at labels that the criterion asked for.",
    )
    audits: ErrorStatistics = Field(
        default_factory=ErrorStatistics, description="Errors at audits."
    )
    properties: PropertiesDoc | None = Field(
        None, description="Properties of the crystal, where they were asked for."
    )
    drift: float | None = Field(
        None, description="RMS change of the weights from the foundation, in prior stds."
    )
    ensemble: EnsembleDoc = Field(description="The weights that the verdict is about.")
    refit: EnsembleDoc | None = Field(
        None,
        description="Weights fitted after the proof to all labels, those of the proof among them. "
        "Nothing is proven of them.",
    )
    weights: list[WeightsBlob] | None = Field(
        None, description="Members' weights; goes to the additional store `data`."
    )
    spec: dict[str, Any] | None = Field(
        None, description="All that the user chose (RunSpec); None in documents of 0.1."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a run of 0.1, where spec is None."
    )
    versions: dict[str, str] = Field(
        default_factory=dict, description="Of onfly and the packages that matter."
    )
    seed: int = Field(0, description="Of the run.")
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work, s.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was published, UTC."
    )

    @property
    def ensembles(self) -> list[EnsembleDoc]:
        """The proven weights, and those of the refit where there are any."""
        return [self.ensemble, *([] if self.refit is None else [self.refit])]
