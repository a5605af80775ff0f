"""The loop's one step: ``step(state) -> (state, event)``, without files, jobs or databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from onfly.bayes.calibration import Calibration
from onfly.dynamics.calculator import DriverCalculator, LabelNeeded, SuppliedLabel
from onfly.dynamics.criteria import AuditSchedule, EnergyCriterion, Warmup
from onfly.dynamics.guards import Guards
from onfly.dynamics.integrators import build_dynamics, capture, restore
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.stages import MDStage, default_time_step, locate, total_steps
from onfly.dynamics.state import MDState
from onfly.seeds import numpy_stream

__all__ = ["Driver", "Exploded", "Finished", "LabelRequest", "Moved"]


@dataclass(frozen=True)
class Moved:
    """A step was accepted; `uncertain` if a criterion that only watches was exceeded."""

    time_fs: float
    stage: int
    energy_std: float | None
    probability: float | None
    uncertain: bool = False


@dataclass(frozen=True)
class LabelRequest:
    """A configuration must be labelled before the step can be taken.

    Parameters
    ----------
    reason
        ``"uncertain"``, ``"audit"``, ``"warmup"`` or ``"guard"``.
    atoms
        The configuration: of the step to come, or, for ``"guard"``, of the last accepted state.
    md_step
        The step that leads to it.
    prediction
        What the ensemble predicts for it, before it learns of it; None for ``"guard"`` where the
        accepted results were a label's.
    probability
        That the error of this prediction exceeds the threshold.
    detail
        What a guard found.
    """

    reason: str
    atoms: Atoms
    md_step: int
    prediction: StepPrediction | None
    probability: float | None
    detail: str | None = None


@dataclass(frozen=True)
class Exploded:
    """A guard tripped although the accepted state has a label's forces: more labels cannot help."""

    detail: str


@dataclass(frozen=True)
class Finished:
    """All stages are done."""


Event = Moved | LabelRequest | Exploded | Finished


class Driver:
    """Take MD steps on the ensemble mean and interrupt where the criterion demands a label.

    Parameters
    ----------
    predictor
        The ensemble.
    stages
        Temperature and pressure programme.
    criterion, audits, warmup, guards
        When to ask for labels.
    calibration
        Of the ensemble's std; constant between two labels.
    key
        Names the random streams of the run.
    time_step
        fs for stages that name none; None takes the default for the elements.
    n_counted, last_label_step
        For the warm-up: labels in the calibration so far, and the step of the last label.
    initial_volume
        Å³, for the guards.
    supplied
        The label of the configuration that the step from the present state leads to.
    """

    def __init__(
        self,
        predictor: Predictor,
        stages: Sequence[MDStage],
        criterion: EnergyCriterion,
        calibration: Calibration,
        key: tuple[str | int, ...],
        *,
        audits: AuditSchedule,
        warmup: Warmup | None = None,
        guards: Guards | None = None,
        time_step: float | None = None,
        n_counted: float = 0.0,
        last_label_step: int = 0,
        initial_volume: float | None = None,
        supplied: SuppliedLabel | None = None,
    ) -> None:
        self.stages = list(stages)
        self.criterion = criterion
        self.calibration = calibration
        self.audits = audits
        self.warmup = warmup or Warmup()
        self.guards = guards or Guards()
        self.key = key
        self.time_step = time_step
        self.n_counted = n_counted
        self.last_label_step = last_label_step
        self.initial_volume = initial_volume
        self.n_steps = total_steps(self.stages)
        self._next_step = 0
        self._dynamics: Any = None
        self._state: MDState | None = None
        self._stage = -1
        self.calculator = DriverCalculator(
            predictor, self._judge, needs_stress=False, supplied=supplied
        )

    def _judge(self, atoms: Atoms, prediction: StepPrediction) -> tuple[str | None, float]:
        probability = self.criterion.probability(prediction.energy_std, self.calibration)
        if self.criterion.fires(probability):
            return "uncertain", probability
        if self.audits.is_audit(self._next_step):
            return "audit", probability
        if self.warmup.asks(self.n_counted, self._next_step - self.last_label_step):
            return "warmup", probability
        return None, probability

    def stage_time_step(self, stage: MDStage, atoms: Atoms) -> float:
        """Return the time step of a stage in fs."""
        return stage.time_step or self.time_step or default_time_step(atoms.get_chemical_symbols())

    def time_at(self, step: int, atoms: Atoms) -> float:
        """Return the simulated time in fs at a global step."""
        time = 0.0
        for stage in self.stages:
            taken = min(step, stage.n_steps)
            time += taken * self.stage_time_step(stage, atoms)
            step -= taken
        return time

    def _load(self, state: MDState) -> Any:
        """Set up ASE's integrator for a state; the one in use is kept while it fits."""
        index, within = locate(self.stages, state.step)
        stage = self.stages[index]
        target = stage.temperature_at(within)
        rng = numpy_stream(*self.key, "thermostat", state.epoch, state.step)
        if self._dynamics is not None and self._state is state and self._stage == index:
            dynamics = self._dynamics
            if hasattr(dynamics, "rng"):
                dynamics.rng = rng
            if stage.is_ramp:
                dynamics.set_temperature(temperature_K=target)
            return dynamics
        atoms = state.to_atoms()
        self.calculator.needs_stress = stage.ensemble == "npt"
        if self.calculator.needs_stress and state.stress is None:
            # The stage before had no use for the stress: the ensemble supplies it.
            stress = self.calculator.predictor.predict(atoms, stress=True).stress
            state = replace(state, stress=stress)
        self.calculator.preload(atoms, state)
        atoms.calc = self.calculator
        dynamics = build_dynamics(atoms, stage, self.stage_time_step(stage, atoms), target, rng)
        if within > 0:  # thermostats start afresh with each stage
            restore(dynamics, state.integrator)
        self._dynamics, self._stage = dynamics, index
        return dynamics

    def step(self, state: MDState) -> tuple[MDState, Event]:
        """Take one MD step, or say why it cannot be taken.

        Returns
        -------
        tuple
            The new state and `Moved`; or the unchanged state and `LabelRequest`, `Exploded` or
            `Finished`.
        """
        if state.step >= self.n_steps:
            return state, Finished()
        self._next_step = state.step + 1
        dynamics = self._load(state)
        index, within = locate(self.stages, state.step)
        self.calculator.source = "none"
        self.calculator.step = self._next_step
        try:
            # a diverging step is the guards' business, not numpy's
            with np.errstate(all="ignore"):
                dynamics.step()
        except LabelNeeded as need:
            self._dynamics = None
            request = LabelRequest(
                need.reason, need.atoms, self._next_step, need.prediction, need.probability
            )
            return state, request
        except (FloatingPointError, ValueError, np.linalg.LinAlgError) as error:
            if np.isfinite(dynamics.atoms.positions).all():
                raise
            return self._tripped(state, f"the step is not finite ({error})")
        new = self._accepted(state, dynamics)
        problem = self.guards.check(
            new, self.stages[index].temperature_at(within), self.initial_volume
        )
        if problem is not None:
            return self._tripped(state, problem)
        self._state = new
        from_model = new.source == "model"
        probability = self.calculator.probability if from_model else None
        return new, Moved(
            time_fs=self.time_at(new.step, dynamics.atoms),
            stage=index,
            energy_std=self.calculator.energy_std if from_model else None,
            probability=probability,
            uncertain=probability is not None and self.criterion.exceeded(probability),
        )

    def _accepted(self, state: MDState, dynamics: Any) -> MDState:
        atoms, results = dynamics.atoms, self.calculator.results
        stress = results.get("stress")
        return replace(
            state,
            positions=atoms.get_positions(),
            momenta=atoms.get_momenta(),
            cell=atoms.cell.array.copy(),
            step=state.step + 1,
            energy=float(results["energy"]),
            forces=results["forces"].copy(),
            stress=None if stress is None else voigt_6_to_full_3x3_stress(stress),
            source="label" if self.calculator.source == "label" else "model",
            integrator=capture(dynamics),
        )

    def _tripped(self, state: MDState, problem: str) -> tuple[MDState, Event]:
        """Roll back to the accepted state, and have it labelled unless it is."""
        self._dynamics = None
        if state.source == "label":
            return state, Exploded(problem)
        atoms = state.to_atoms()
        prediction = self.calculator.predictor.predict(atoms, stress=False)
        probability = self.criterion.probability(prediction.energy_std, self.calibration)
        return state, LabelRequest("guard", atoms, state.step, prediction, probability, problem)
