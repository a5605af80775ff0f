"""All that a report shows of one run, and its axis of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

from onfly.report.records import (
    CalibrationState,
    Counts,
    Identity,
    LabelRow,
    Search,
    Stage,
    Tolerance,
    TrainingRow,
    TrajectoryData,
    Verdict,
)
from onfly.schemas.properties import PropertiesDoc
from onfly.schemas.search import BarrierDoc

__all__ = ["RunReportData"]


@dataclass(frozen=True)
class RunReportData:
    """All that a report needs of one run.

    Energies are in eV, forces in eV/Å and times in fs. It is made by `onfly.report.load_run`; own
    figures are drawn from it.

    Attributes
    ----------
    identity
        Names of the run.
    foundation, labeller
        Foundation model and labeller.
    tolerances
        What is promised.
    verdict
        Whether the model may be used, and why.
    counts
        How many labels, calls, audits and waits.
    labels
        By index, with the errors of what had been predicted.
    audit_outcomes
        Whether each audit kept all tolerances, in the order of the labels; one that could not be
        computed did not.
    n_unjudged
        Audits that could not be computed.
    trajectories
        Logs of the MD.
    stages
        The programme, in words.
    trainings
        Updates of the weights.
    calibration
        Of energies, after each label.
    audit_interval
        Mean number of MD steps between audits.
    max_probability
        Of an error above the tolerance, at which a label is asked for.
    required_coverage, confidence
        What *ready* promises.
    attempts
        Closing blocks that a run may have.
    cpu_seconds
        By kind of work, s.
    settings
        Flat keys that the user chose.
    structure
        Where the MD began.
    versions
        Of onfly and the packages that matter.
    problems
        Files that could not be read.
    properties
        Properties of the crystal, where they were measured.
    barrier
        Of a run that looked for a path.
    search
        Of a run that relaxes or looks for a path; None for MD.

    Examples
    --------
    >>> from onfly.report import load_run
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> _ = write_toy_run(get_settings().ARTIFACT_DIR, toy_run("r"))
    >>> data = load_run(get_settings().ARTIFACT_DIR / "runs" / "r")
    >>> data.identity.formula, data.threshold, data.counts.n_labels
    ('CuAu', 0.1, 0)
    """

    identity: Identity
    foundation: str
    labeller: str
    tolerances: tuple[Tolerance, ...]
    verdict: Verdict
    counts: Counts = field(default_factory=Counts)
    labels: tuple[LabelRow, ...] = ()
    audit_outcomes: tuple[bool, ...] = ()
    n_unjudged: int = 0
    trajectories: tuple[TrajectoryData, ...] = ()
    stages: tuple[Stage, ...] = ()
    trainings: tuple[TrainingRow, ...] = ()
    calibration: tuple[CalibrationState, ...] = ()
    audit_interval: float | None = None
    max_probability: float = 0.05
    required_coverage: float = 0.9
    confidence: float = 0.95
    attempts: int = 0
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    structure: Atoms | None = None
    properties: PropertiesDoc | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    barrier: BarrierDoc | None = None
    search: Search | None = None
    problems: tuple[str, ...] = ()

    def tolerance(self, quantity: str) -> float | None:
        """Return the tolerance of a quantity; None if there is none."""
        return next((t.value for t in self.tolerances if t.quantity == quantity), None)

    @property
    def threshold(self) -> float:
        """Tolerance of the energy of the whole cell in eV; NaN if there is none."""
        value = self.tolerance("energy")
        return float("nan") if value is None else value

    @cached_property
    def judged(self) -> tuple[LabelRow, ...]:
        """Labels with a prediction made before they were learned."""
        return tuple(label for label in self.labels if label.energy_error is not None)

    @cached_property
    def audits(self) -> tuple[LabelRow, ...]:
        """Those of them at random steps."""
        return tuple(label for label in self.judged if label.is_audit)

    @cached_property
    def closing(self) -> tuple[LabelRow, ...]:
        """Those of them in the latest closing block: all of the same weights."""
        found = [label for label in self.audits if label.attempt is not None]
        return tuple(label for label in found if label.attempt == found[-1].attempt)

    @property
    def n_within(self) -> int:
        """Audits of the whole run that kept all tolerances."""
        return sum(self.audit_outcomes)

    @property
    def n_steps(self) -> int:
        """MD steps of all trajectories so far."""
        return sum(trajectory.n_steps for trajectory in self.trajectories)

    @property
    def n_steps_total(self) -> int:
        """MD steps that are wanted."""
        return sum(trajectory.n_steps_total for trajectory in self.trajectories)

    @property
    def simulated_fs(self) -> float:
        """Simulated time of all trajectories; NaN without logs."""
        return float(sum(t.time_fs(t.n_steps) for t in self.trajectories)) or float("nan")

    @property
    def has_clock(self) -> bool:
        """Whether every trajectory that moved tells its times."""
        moved = [t for t in self.trajectories if t.n_steps or len(t.thermo.get("step", ()))]
        return bool(moved) and all(t.has_clock for t in moved)

    def axis(self, trajectory: TrajectoryData) -> np.ndarray:
        """Return the logged steps of a trajectory on the report's axis of time."""
        return self._axis(trajectory, trajectory.thermo.get("step", np.empty(0)))

    def label_axis(self, labels: tuple[LabelRow, ...] | list[LabelRow]) -> np.ndarray:
        """Return the place of labels on the report's axis of time."""
        known = {t.index: t for t in self.trajectories}
        return np.array([float(self._axis(known.get(x.trajectory), x.step)) for x in labels])

    def _axis(self, trajectory: TrajectoryData | None, steps: Any) -> np.ndarray:
        if self.has_clock and trajectory is not None:
            return trajectory.time_fs(steps) / 1000
        return np.asarray(steps, dtype=float)

    def stage_marks(self) -> np.ndarray:
        """Return where stages of the first trajectory begin, on the report's axis of time."""
        first = self.trajectories[0] if self.trajectories else None
        return self._axis(first, first.stage_starts) if first is not None else np.empty(0)

    @cached_property
    def axis_range(self) -> tuple[float, float]:
        """First and last point of that axis; labels of MD before the run lie below 0."""
        ends = [float(self._axis(t, t.n_steps)) for t in self.trajectories]
        values = [v for v in [0.0, *ends, *self.label_axis(self.labels)] if np.isfinite(v)]
        return min(values), max(values)

    @property
    def axis_limits(self) -> tuple[float, float] | None:
        """That range with a margin; None at the very start."""
        low, high = self.axis_range
        margin = 0.015 * (high - low)
        return (low - margin, high + margin) if margin > 0 else None

    @property
    def axis_label(self) -> str:
        """Name of that axis."""
        return "simulated time (ps)" if self.has_clock else "MD step"
