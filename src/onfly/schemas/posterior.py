"""The state of a run between two of its jobs: one posterior, and the trajectories that share it.

Both documents are small and of constant size: weights and MD states are files, labels and what was
predicted for them live in the label store and in the ledger of the run's folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from emmet.core.structure import StructureMetadata
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from onfly.schemas.artifact import ArtifactRef, EnsembleDoc
from onfly.schemas.version import DOC_VERSION, DocVersion
from onfly.spec import RunSpec

__all__ = [
    "CalibrationDoc",
    "ForceCalibrationDoc",
    "Phase",
    "PlaceDoc",
    "PosteriorDoc",
    "ProductionSource",
    "RequestDoc",
    "RequestReason",
    "RunState",
    "StressCalibrationDoc",
    "SuppliedRef",
    "TrajectoryDoc",
]

Phase = Literal[
    "start", "label", "judge", "learn", "explore", "close", "refit", "publish", "done", "stopped"
]
RequestReason = Literal[
    "initial", "uncertain", "guard", "ahead", "warmup", "audit", "closing", "deciding"
]
# a call stops its trajectory, whose step is then taken with the label's forces
CALLS: tuple[RequestReason, ...] = ("uncertain", "guard")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class CalibrationDoc(_Frozen):
    """Sufficient statistics of the calibration (see ``onfly.bayes.Calibration``)."""

    shape: float
    rate: float
    n: float = 0.0
    sum_z2: float = 0.0
    mode: Literal["mean", "ema"] = "mean"
    decay: float = 1.0
    surprise: float = 0.0


class ForceCalibrationDoc(_Frozen):
    """Sufficient statistics of the forces (see ``onfly.bayes.ForceCalibration``)."""

    shape: float = 1.5
    rate: float = 6.0
    correlation: float = 0.1
    pool: float = 10.0
    surprise: float = 0.0
    species: tuple[int, ...] = Field((), description="Atomic numbers.")
    n: tuple[float, ...] = Field((), description="Effective number of errors, by species.")
    sum_z2: tuple[float, ...] = ()


class StressCalibrationDoc(_Frozen):
    """Sufficient statistics of the stress (see ``onfly.bayes.StressCalibration``)."""

    shape: float = 1.5
    rate: float = 6.0
    correlation: float = 0.5
    n: float = Field(0.0, description="Effective number of errors.")
    sum_z2: float = 0.0


class SuppliedRef(_Frozen):
    """A label that has come for the step that a trajectory is about to take."""

    label: str = Field(description="Key in the label store.")
    structure: ArtifactRef
    reason: RequestReason


class PlaceDoc(_Frozen):
    """A place that a trajectory can go back to."""

    md_state: ArtifactRef = Field(description="The MD state, as a file.")
    md_step: int = Field(description="MD steps that led to it.")
    time_fs: float = Field(description="Simulated time.")
    supplied: SuppliedRef | None = Field(None, description="Label for the step after it.")


class RequestDoc(_Frozen):
    """A configuration that must be labelled, and what the ensemble predicted for it.

    Energies are in eV.

    Examples
    --------
    >>> from onfly.schemas import ArtifactRef
    >>> ref = ArtifactRef(path="md/0.json", sha256="0" * 64, nbytes=812)
    >>> RequestDoc(reason="uncertain", trajectory=0, md_step=120, structure=ref).key
    '000-00000120-uncertain-000000000000'
    """

    reason: RequestReason = Field(description="Why it is asked for.")
    trajectory: int = Field(description="-1 for MD on the foundation before the run.")
    md_step: int = Field(description="MD step that leads to it.")
    structure: ArtifactRef = Field(description="The configuration, as the MD state's file.")
    place: PlaceDoc | None = Field(
        None, description="Of an audit: the MD can go on from here if it keeps the tolerances."
    )
    attempt: int = Field(0, description="1 after a failure: asked again with a more careful SCF.")
    detail: str | None = Field(None, description="What a guard found.")
    predicted_energy: float | None = Field(None, description="On the labeller's scale (eV).")
    predicted_std: float | None = Field(None, description="Uncalibrated (eV).")
    probability: float | None = Field(
        None, description="Of an error above the tolerance, at most over all tolerances."
    )
    quantity: str | None = Field(None, description="Name of the tolerance that asked.")
    look: int = Field(0, description="Of the closing block: later looks are a reserve.")

    @property
    def is_call(self) -> bool:
        """Whether the trajectory waits for this label."""
        return self.reason in CALLS

    @property
    def key(self) -> str:
        """Name of the request within its run.

        A step can be reached twice, after an explosion or a look ahead: the configuration counts.
        """
        name = f"{self.trajectory:03d}-{self.md_step:08d}-{self.reason}"
        return f"{name}-{self.structure.sha256[:12]}"


class TrajectoryDoc(_Frozen):
    """One trajectory: where it is, and which labels it waits for.

    Times are in fs, the initial volume in Å³.

    Examples
    --------
    >>> from onfly.schemas import ArtifactRef
    >>> ref = ArtifactRef(path="md/0.safetensors", sha256="0" * 64, nbytes=812)
    >>> TrajectoryDoc(md_state=ref, n_steps=1000).called
    False
    """

    doc_type: Literal["trajectory"] = "trajectory"
    doc_version: DocVersion = DOC_VERSION
    index: int = Field(0, description="Number of the trajectory, from 0.")
    md_state: ArtifactRef = Field(description="Where it is, as a file.")
    md_step: int = Field(0, description="MD steps done.")
    time_fs: float = Field(0.0, description="Simulated time.")
    n_steps: int = Field(description="Step at which the programme in use ends.")
    origin: int = Field(0, description="Step at which the programme in use began.")
    origin_time_fs: float = Field(
        0.0, description="Simulated time at which the programme in use began."
    )
    programme_step: int = Field(
        0, description="Steps of the user's programme that were done before the closing blocks."
    )
    extended: bool = Field(
        False, description="Whether the programme in use is a stretch between closing blocks."
    )
    segment: int = Field(0, description="Segments so far.")
    round_began: int | None = Field(
        None, description="Step at which a round began that the walltime cut; None if none is."
    )
    round_start: PlaceDoc | None = Field(None, description="Where its newest round began.")
    redone_to: int = Field(0, description="Steps up to here are not taken a third time.")
    n_redone: int = Field(0, description="Steps that were set aside and taken again.")
    audits_from: int = Field(
        0, description="Where it went on after a label broke a tolerance: audits are close again."
    )
    last_label_step: int = Field(0, description="Step of its newest label.")
    last_call_step: int = Field(0, description="Step at which it asked for a label last.")
    initial_volume: float | None = Field(None, description="Å³, for the guards.")
    supplied: SuppliedRef | None = Field(
        None, description="Label for the step that it is about to take."
    )
    requests: tuple[RequestDoc, ...] = Field((), description="Labels that it waits for.")
    closing_steps: tuple[tuple[int, ...], ...] = Field(
        (), description="Steps of the closing block to audit, for each of its looks."
    )
    done: bool = Field(False, description="Whether the programme in use is at its end.")
    n_explosions: int = Field(0, description="Times that a guard ended its MD.")
    failures: tuple[str, ...] = Field((), description="The last few, in words.")
    cpu_seconds: float = Field(0.0, description="Of its MD.")

    @property
    def called(self) -> bool:
        """Whether the trajectory waits for a label."""
        return any(request.is_call for request in self.requests)


class ProductionSource(_Frozen):
    """The model that a production run started from."""

    model_id: str | None = None
    source_run_id: str
    index: int = Field(0, description="Number of the run among those of one flow.")
    n_model_labels: int = 0


class PosteriorDoc(StructureMetadata):
    """What the trajectories of a compound share: ensemble, calibration, energy scale, progress.

    Energies are in eV.

    Examples
    --------
    >>> from onfly.testing.models import toy_run
    >>> toy_run("r").posterior.n_labels
    0
    """

    model_config = ConfigDict(frozen=True)

    doc_type: Literal["posterior"] = "posterior"
    doc_version: DocVersion = DOC_VERSION
    run_id: str = Field(description="Identifier of the run.")
    campaign: str | None = Field(None, description="Name of its campaign.")
    spec: RunSpec = Field(description="All that the user chose.")
    phase: Phase = Field("start", description="What is due.")
    round: int = Field(0, description="Rounds so far.")
    revision: int = Field(0, description="Grows with every change.")
    labeller: str = Field("", description="Name of the maker that labels.")

    threshold_ev: float | None = Field(None, description="Energy tolerance of the cell, eV.")
    energy_std: float | None = Field(None, description="σ_E of the likelihood; None by its rule.")
    energy_offset: float | None = Field(None, description="E_foundation - E_DFT of label 0 (eV).")
    input_hash: str | None = Field(None, description="Settings of label 0; later ones must agree.")
    ensemble: EnsembleDoc | None = Field(
        None, description="Files of the present generation of the weights."
    )
    refit: EnsembleDoc | None = Field(
        None, description="Fitted after a proof to all labels; the proof is about `ensemble`."
    )
    calibration: CalibrationDoc = Field(description="Of energies.")
    force_calibration: ForceCalibrationDoc = Field(
        default_factory=ForceCalibrationDoc, description="Of forces."
    )
    stress_calibration: StressCalibrationDoc = Field(
        default_factory=StressCalibrationDoc, description="Of stresses."
    )
    tolerance_atoms: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="By tolerance of forces, the atoms that it is about."
    )

    n_records: int = Field(0, description="Records of the ledger that count.")
    n_labels: int = Field(0, description="Labels in the ledger.")
    n_seeds: int = Field(0, description="Labels of earlier runs, which were not paid for.")
    n_waits: int = Field(0, description="Rounds of labels that followed one another.")
    n_calls: int = Field(0, description="Labels that the criterion asked for.")
    n_audits: int = Field(0, description="Labels at random steps.")
    n_audits_within: int = Field(0, description="Audits that kept all tolerances.")
    n_failures: int = Field(0, description="Labels that failed twice.")
    failures: tuple[str, ...] = Field((), description="The last few, in words.")
    attempt: int | None = Field(None, description="Number of the closing block; None before it.")
    look: int = Field(0, description="Of the closing block, from 0.")
    n_extensions: int = Field(
        0, description="Closing blocks that were not labelled, since the model doubted them."
    )
    last_label_dir: str | None = Field(None, description="For a warm start of the next label.")
    stop_reason: str | None = Field(None, description="Why it ended, in words.")
    stopped: bool = Field(False, description="Whether the run was cut short.")
    model_id: str | None = Field(None, description="Identifier of the published model.")
    production: ProductionSource | None = Field(None, description="Of a production run.")
    cpu_seconds: dict[str, float] = Field(default_factory=dict, description="By kind of work.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When the run began, UTC."
    )
    updated_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was changed last, UTC."
    )

    @property
    def foundation_model(self) -> str:
        """Name or path of the foundation potential."""
        return self.spec.foundation.source


class RunState(_Frozen):
    """A run: one posterior and its trajectories.

    Each change makes a new one (`evolve`, `with_trajectories`); arrays are in files.

    Examples
    --------
    >>> from onfly.testing.models import toy_run
    >>> state = toy_run("r")
    >>> state.run_id, state.phase, state.evolve(phase="label").phase
    ('r', 'start', 'label')
    """

    doc_type: Literal["run"] = "run"
    doc_version: DocVersion = DOC_VERSION
    posterior: PosteriorDoc = Field(description="What the trajectories share.")
    trajectories: tuple[TrajectoryDoc, ...] = Field((), description="One for each walker.")

    @property
    def run_id(self) -> str:
        """Identifier of the run."""
        return self.posterior.run_id

    @property
    def phase(self) -> Phase:
        """What is due."""
        return self.posterior.phase

    @property
    def updated_at(self) -> datetime:
        """When the run was changed last."""
        return self.posterior.updated_at

    @property
    def requests(self) -> tuple[RequestDoc, ...]:
        """The labels that are waited for, by trajectory and step."""
        return tuple(request for t in self.trajectories for request in t.requests)

    @property
    def due(self) -> tuple[RequestDoc, ...]:
        """The labels that are computed next: without the reserve of a closing block."""
        return tuple(r for r in self.requests if r.look <= self.posterior.look)

    @property
    def md_step(self) -> int:
        """MD steps of all trajectories."""
        return sum(t.md_step for t in self.trajectories)

    @property
    def n_steps_total(self) -> int:
        """MD steps that the programmes in use ask for."""
        return sum(max(t.n_steps, t.md_step) for t in self.trajectories)

    @property
    def n_failures(self) -> int:
        """Failed labels and explosions."""
        return self.posterior.n_failures + sum(t.n_explosions for t in self.trajectories)

    @property
    def failures(self) -> list[str]:
        """The last failures in words."""
        found = [*self.posterior.failures]
        for trajectory in self.trajectories:
            found += trajectory.failures
        return found[-10:]

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """CPU time by kind of work, that of the MD summed over the trajectories."""
        found = dict(self.posterior.cpu_seconds)
        md = sum(t.cpu_seconds for t in self.trajectories)
        return found | ({"md": found.get("md", 0.0) + md} if md else {})

    @model_serializer(mode="wrap")
    def _searchable(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what the outputs of jobs are searched by at the top."""
        found = {name: getattr(self, name) for name in ("run_id", "phase", "updated_at")}
        return handler(self) | found

    def evolve(self, **changes: Any) -> RunState:
        """Return the run with changes of its posterior and a new time stamp."""
        fixed = {"revision": self.posterior.revision + 1, "updated_at": datetime.now(UTC)}
        posterior = self.posterior.model_copy(update={**changes, **fixed})
        return self.model_copy(update={"posterior": posterior})

    def with_trajectories(self, trajectories: Iterable[TrajectoryDoc]) -> RunState:
        """Return the run with other trajectories."""
        return self.model_copy(update={"trajectories": tuple(trajectories)})
