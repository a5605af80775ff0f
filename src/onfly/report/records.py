"""The parts of what a report shows of a run, as plain data: no documents, no files.

`onfly.report.data` fills these; everything else in this package reads only them. Units: eV, eV/Å,
fs, K, Å³.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

__all__ = [
    "AUDITS",
    "CalibrationState",
    "Counts",
    "Identity",
    "LabelRow",
    "Search",
    "Stage",
    "Tolerance",
    "TrainingRow",
    "TrajectoryData",
    "Verdict",
]

# reasons of labels at random steps: the only fair sample of a model's errors
AUDITS = ("audit", "closing")


@dataclass(frozen=True)
class Identity:
    """Names of a run; None where there is none yet."""

    run_id: str
    formula: str = ""
    n_atoms: int | None = None
    campaign: str | None = None
    model_id: str | None = None
    seed: int = 0
    posterior: str | None = None
    generation: int | None = None
    energy_offset: float | None = None
    level_of_theory: str | None = None


@dataclass(frozen=True)
class Tolerance:
    """The largest error that is allowed, such as ``("energy", 0.02, "eV")``."""

    quantity: str
    value: float
    unit: str


@dataclass(frozen=True)
class LabelRow:
    """One reference calculation and what had been predicted before it was learned.

    Attributes
    ----------
    time_fs
        Simulated time of its trajectory; NaN if the log does not tell. Steps and times below 0 are
        those of MD on the foundation model, before the run.
    attempt
        Closing block that it belongs to, from 0.
    generation, learned_generation
        Which weights predicted it, and the first that learned it; None if unknown.
    predicted_mean, predicted_std
        Energy on the labels' scale and its uncalibrated standard deviation in eV.
    probability
        Calibrated probability that the error exceeds the tolerance.
    energy_error, foundation_error
        Predicted minus labelled energy of the whole cell in eV, of the tuned model and of the
        foundation model (shifted to agree on the first label).
    force_rmse, foundation_force_rmse
        Over all components, in eV/Å.
    seconds
        Wall time of the calculation.
    corrections
        What custodian corrected, as it records it.
    """

    index: int
    reason: str | None
    energy: float
    trajectory: int = 0
    step: int = 0
    time_fs: float = float("nan")
    generation: int | None = None
    attempt: int | None = None
    predicted_mean: float | None = None
    predicted_std: float | None = None
    probability: float | None = None
    energy_error: float | None = None
    foundation_error: float | None = None
    force_rmse: float | None = None
    foundation_force_rmse: float | None = None
    learned_generation: int | None = None
    seconds: float | None = None
    corrections: tuple[Mapping[str, Any], ...] = ()
    structure: Atoms | None = None

    @property
    def is_audit(self) -> bool:
        """Whether it was made at a random step."""
        return self.reason in AUDITS


@dataclass(frozen=True)
class Stage:
    """One stage of the programme, in words."""

    n_steps: str
    temperature: str
    pressure: str
    ensemble: str


@dataclass(frozen=True)
class TrajectoryData:
    """One trajectory of a run.

    Attributes
    ----------
    thermo
        Column to values, shape (n,), ordered by step; NaN where nothing was written. Columns:
        step, time_fs, stage, temperature, potential_energy, kinetic_energy, total_energy, volume,
        energy_std, probability, and ``source`` (strings).
    n_steps, n_steps_total
        Done so far, and wanted.
    n_redone
        Steps that were set aside after a broken tolerance, and taken again.
    last_frame
        The last configuration that was written.
    """

    index: int
    thermo: Mapping[str, np.ndarray] = field(default_factory=dict)
    n_steps: int = 0
    n_steps_total: int = 0
    n_redone: int = 0
    last_frame: Atoms | None = None

    @cached_property
    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        step, time = (self.thermo.get(name, np.empty(0)) for name in ("step", "time_fs"))
        known = np.isfinite(time)
        return step[known], time[known]

    @property
    def has_clock(self) -> bool:
        """Whether steps can be given as times."""
        return self._clock[0].size >= 2

    def time_fs(self, steps: Any) -> np.ndarray:
        """Return the times of MD steps, from the log and beyond its ends; NaN without a log."""
        step, time = self._clock
        wanted = np.asarray(steps, dtype=float)
        if not self.has_clock:
            return np.full(wanted.shape, np.nan)
        first = (time[1] - time[0]) / (step[1] - step[0])
        last = (time[-1] - time[-2]) / (step[-1] - step[-2])
        inside = np.interp(wanted, step, time)
        inside = np.where(wanted < step[0], time[0] - (step[0] - wanted) * first, inside)
        return np.where(wanted > step[-1], time[-1] + (wanted - step[-1]) * last, inside)

    @property
    def stage_starts(self) -> np.ndarray:
        """Steps at which a stage other than the first began."""
        stage, step = (self.thermo.get(name, np.empty(0)) for name in ("stage", "step"))
        return step[1:][np.diff(stage) != 0]


@dataclass(frozen=True)
class TrainingRow:
    """One update of the weights; each chain maps a quantity to its values along the sampler."""

    generation: int
    n_labels: int | None = None
    seconds: float | None = None
    drift: float | None = None
    chains: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class CalibrationState:
    """Gamma posterior of the precision factor λ when a label was judged.

    Attributes
    ----------
    label
        Index of the label that this state judged; None for the state after the last one.
    a, b
        Shape and rate.
    """

    label: int | None
    a: float
    b: float

    @property
    def dof(self) -> float:
        """Degrees of freedom of the predictive Student-t."""
        return 2 * self.a

    @property
    def scale_factor(self) -> float:
        """Factor from the predicted standard deviation to the scale of that Student-t."""
        return float(np.sqrt(self.b / self.a))


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be used, and why.

    Attributes
    ----------
    state
        One of the words that scripts may test for: ready, needs more audits, not accurate enough,
        running, stopped.
    headline
        The verdict as shown: the state, and for a stopped run its reason.
    reasons
        Full sentences.
    advice
        What to do next.
    coverage
        Share of the steps that is proven to keep the tolerance; None without an audit.
    confidence
        Of that share.
    n_audits, n_failed
        Audits that the verdict rests on, and how many of them broke the tolerance.

    Examples
    --------
    >>> verdict = Verdict("ready", "Ready", coverage=0.9, n_audits=33)
    >>> verdict.state, verdict.confidence
    ('ready', 0.95)
    """

    state: str
    headline: str
    reasons: tuple[str, ...] = ()
    advice: str = ""
    coverage: float | None = None
    confidence: float = 0.95
    n_audits: int = 0
    n_failed: int = 0


@dataclass(frozen=True)
class Search:
    """How a relaxation or a path is decided.

    Parameters
    ----------
    driver
        ``"relax"`` or ``"neb"``.
    fmax
        Largest force at the end, by model and label (eV/Å).
    calls
        Whether the criterion asks for labels on the way as well.

    Examples
    --------
    >>> Search("relax", 0.02, False).fmax
    0.02
    """

    driver: str
    fmax: float
    calls: bool


@dataclass(frozen=True)
class Counts:
    """How much was calculated; `n_waits` is None where nobody counted.

    `n_labels` includes `n_seeds`, those of earlier runs.
    """

    n_labels: int = 0
    n_seeds: int = 0
    n_calls: int = 0
    n_audits: int = 0
    n_waits: int | None = None
