"""The loop's one step: ``step(state) -> (state, event)``, without files, jobs or databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from onfly.dynamics.calculator import DriverCalculator, SuppliedLabel
from onfly.dynamics.criteria import Assessment, Calibrations, Criterion, needs_stress
from onfly.dynamics.guards import Guards
from onfly.dynamics.integrators import build_dynamics, capture, restore
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.screen import MomentScreen
from onfly.dynamics.stages import MDStage, default_time_step, locate, total_steps
from onfly.dynamics.state import MDState
from onfly.seeds import numpy_stream

__all__ = [
    "Driver",
    "Event",
    "Exploded",
    "Finished",
    "LabelRequest",
    "MDDriver",
    "Moved",
    "StagedDriver",
]


@dataclass(frozen=True)
class Moved:
    """A step was accepted.

    Parameters
    ----------
    time_fs, stage
        Simulated time in fs, and number of the stage that the step belongs to.
    prediction, assessment
        Of the ensemble for the new configuration, and what the criterion says of it; None if the
        step was taken with a label's results, or the uncertainty was not looked at.

    Examples
    --------
    >>> Moved(time_fs=12.0, stage=0).prediction is None
    True
    """

    time_fs: float
    stage: int
    prediction: StepPrediction | None = None
    assessment: Assessment | None = None


@dataclass(frozen=True)
class LabelRequest:
    """A configuration must be labelled before the step can be taken.

    Parameters
    ----------
    reason
        ``"uncertain"`` or ``"guard"``.
    atoms
        The configuration: of the step to come, or, for ``"guard"``, of the last accepted state.
    md_step
        The step that leads to it.
    prediction
        What the ensemble predicts for it, before it learns of it (eV, eV/Å, eV/Å³).
    assessment
        What the criterion says of the prediction.
    detail
        What a guard found.

    Examples
    --------
    >>> from ase.build import bulk
    >>> said = StepPrediction(-1.0, 0.02, np.zeros((4, 3)), forces_std=None, stress=None)
    >>> fires = Assessment(fires=True, probability=0.1, exceeded=True)
    >>> LabelRequest("uncertain", bulk("Cu", cubic=True), 12, said, fires).md_step
    12
    """

    reason: str
    atoms: Atoms
    md_step: int
    prediction: StepPrediction
    assessment: Assessment
    detail: str | None = None


@dataclass(frozen=True)
class Exploded:
    """A guard tripped although the accepted state has a label's forces: more labels cannot help.

    Parameters
    ----------
    detail
        What the guard found.

    Examples
    --------
    >>> Exploded("temperature 9000 K is above 2000 K").detail
    'temperature 9000 K is above 2000 K'
    """

    detail: str


@dataclass(frozen=True)
class Finished:
    """The programme is at its end.

    Examples
    --------
    >>> Finished()
    Finished()
    """


Event = Moved | LabelRequest | Exploded | Finished


class Driver(Protocol):
    """Moves a trajectory on the ensemble: MD, a relaxation, or a path.

    The state holds all that the next step depends on, and can be written to a file: two joined
    segments are bit for bit one run.

    Examples
    --------
    One of your own is in "Extending" of the documentation.

    >>> class Waiting:
    ...     def step(self, state):
    ...         return state, Finished()
    >>> Waiting().step(None)
    (None, Finished())
    """

    def step(self, state: MDState) -> tuple[MDState, Event]:
        """Take one step, or say why it cannot be taken.

        Returns
        -------
        tuple
            The new state and `Moved`; or the unchanged state and `LabelRequest`, `Exploded` or
            `Finished`.
        """
        ...


class StagedDriver:
    """Where a driver is in its stages, and the clock.

    Parameters
    ----------
    stages
        One after the other.
    time_step
        fs for stages that name none; None takes the default for the elements.
    origin, origin_time_fs
        Step and time at which the stages begin.

    Examples
    --------
    >>> driver = StagedDriver([MDStage(10), MDStage(5)], origin=100)
    >>> driver.end, driver.locate(112)
    (115, (1, 2))
    """

    criterion: Criterion
    calibration: Calibrations
    calculator: DriverCalculator

    def __init__(
        self,
        stages: Sequence[MDStage],
        *,
        time_step: float | None = None,
        origin: int = 0,
        origin_time_fs: float = 0.0,
    ) -> None:
        self.stages = list(stages)
        self.time_step = time_step
        self.origin = origin
        self.origin_time_fs = origin_time_fs
        self.end = origin + total_steps(self.stages)

    def locate(self, step: int) -> tuple[int, int]:
        """Return (number of the stage, step within it) at a step of the trajectory."""
        return locate(self.stages, step - self.origin)

    def stage_time_step(self, stage: MDStage, atoms: Atoms) -> float:
        """Return the time step of a stage in fs."""
        return stage.time_step or self.time_step or default_time_step(atoms.get_chemical_symbols())

    def time_at(self, step: int, atoms: Atoms) -> float:
        """Return the simulated time in fs at a step."""
        time, step = self.origin_time_fs, step - self.origin
        for stage in self.stages:
            taken = min(step, stage.n_steps)
            time += taken * self.stage_time_step(stage, atoms)
            step -= taken
        return time

    def _tripped(self, state: MDState, problem: str) -> tuple[MDState, Event]:
        """Stay at the accepted state, and have it labelled unless it is."""
        if state.source == "label":
            return state, Exploded(problem)
        atoms, criterion = state.to_atoms(), self.criterion
        prediction = self.calculator.predictor.predict(
            atoms, stress=needs_stress(criterion), forces_std=criterion.needs_forces_std
        )
        assessment = criterion.assess(prediction, self.calibration)
        return state, LabelRequest("guard", atoms, state.step, prediction, assessment, problem)


class MDDriver(StagedDriver):
    """Take MD steps on the ensemble mean, and interrupt where the criterion demands a label.

    Parameters
    ----------
    predictor
        The ensemble.
    stages
        Temperature and pressure programme.
    criterion
        When a step must be taken with a label's forces; judged once per step, on the
        configuration that the step leads to.
    calibration
        Of the ensemble's standard deviations; constant during a round.
    key
        Names the random streams of the trajectory.
    guards
        Against explosion.
    time_step
        fs for stages that name none; None takes the default for the elements.
    initial_volume
        Å³, for the guards.
    supplied
        The label of the configuration that the step from the present state leads to.
    origin, origin_time_fs
        Step and time at which the stages begin.

    Raises
    ------
    ValueError
        By `step`: the dynamics of a stage cannot be built.

    Examples
    --------
    One step on the foundation itself:

    >>> from ase.build import bulk
    >>> from onfly.bayes import LikelihoodScales, posterior_from_dict
    >>> from onfly.dynamics.criteria import EnergyCriterion
    >>> from onfly.dynamics.state import draw_momenta
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> posterior = posterior_from_dict({"kind": "sghmc", "n_members": 2})
    >>> predictor = Predictor(potential, posterior, posterior.initial(potential, ("my run",)),
    ...                       LikelihoodScales(energy_std=1e-4))
    >>> atoms = bulk("Cu", cubic=True)
    >>> first = predictor.predict(atoms)
    >>> momenta = draw_momenta(atoms, 300, ("my run", "velocities"))
    >>> state = MDState(atoms.numbers, atoms.pbc, atoms.positions, momenta, atoms.cell.array,
    ...                 step=0, energy=first.energy, forces=first.forces, stress=first.stress,
    ...                 source="model")
    >>> criterion, key = EnergyCriterion(1.0), ("my run",)
    >>> driver = MDDriver(predictor, [MDStage(10)], criterion, Calibrations(), key)
    >>> state, event = driver.step(state)
    >>> state.step, type(event).__name__, event.time_fs
    (1, 'Moved', 2.0)
    """

    def __init__(
        self,
        predictor: Predictor,
        stages: Sequence[MDStage],
        criterion: Criterion,
        calibration: Calibrations,
        key: tuple[str | int, ...],
        *,
        guards: Guards | None = None,
        time_step: float | None = None,
        initial_volume: float | None = None,
        supplied: SuppliedLabel | None = None,
        origin: int = 0,
        origin_time_fs: float = 0.0,
    ) -> None:
        super().__init__(stages, time_step=time_step, origin=origin, origin_time_fs=origin_time_fs)
        self.criterion = criterion
        self.calibration = calibration
        self.guards = guards or Guards()
        self.key = key
        self.initial_volume = initial_volume
        self._dynamics: Any = None
        self._state: MDState | None = None
        self._stage = -1
        screen = None
        if criterion.needs_forces_std and predictor.can_screen:
            screen = MomentScreen(criterion, calibration, predictor.fingerprint)
        self.calculator = DriverCalculator(
            predictor, forces_std=criterion.needs_forces_std, supplied=supplied, screen=screen
        )

    def _load(self, state: MDState) -> Any:
        """Set up ASE's integrator for a state; the one in use is kept while it fits."""
        index, within = self.locate(state.step)
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
        npt = stage.ensemble == "npt"
        self.calculator.needs_stress = npt or needs_stress(self.criterion)
        if npt and state.stress is None:
            # The stage before had no use for the stress, or a label gave none.
            stress = self.calculator.predictor.predict(atoms, stress=True).stress
            state = replace(state, stress=stress)
        self.calculator.preload(atoms, state)
        if self.calculator.screen is not None:
            self.calculator.screen.load(state.screen)
        atoms.calc = self.calculator
        dynamics = build_dynamics(atoms, stage, self.stage_time_step(stage, atoms), target, rng)
        if within > 0:  # thermostats start afresh with each stage
            restore(dynamics, state.integrator)
        self._dynamics, self._stage = dynamics, index
        return dynamics

    def step(self, state: MDState) -> tuple[MDState, Event]:
        """Take one MD step, or say why it cannot be taken; see `Driver.step`."""
        if state.step >= self.end:
            return state, Finished()
        calculator = self.calculator
        dynamics = self._load(state)
        index, within = self.locate(state.step)
        calculator.source, calculator.prediction = "none", None
        calculator.step = state.step + 1
        try:
            # a diverging step is the guards' business, not numpy's
            with np.errstate(all="ignore"):
                dynamics.step()
        except (FloatingPointError, ValueError, np.linalg.LinAlgError) as error:
            if np.isfinite(dynamics.atoms.positions).all():
                raise
            self._dynamics = None
            return self._tripped(state, f"the step is not finite ({error})")
        prediction, assessment = calculator.prediction, None
        if prediction is not None and prediction.watched:
            # Velocities do not enter the forces, so that the integrator may finish its step
            # before the configuration that it leads to is judged: once, whatever the integrator.
            assessment = self.criterion.assess(prediction, self.calibration)
            if assessment.fires:
                self._dynamics = None
                at: Any = calculator.atoms
                return state, LabelRequest(
                    "uncertain", at.copy(), state.step + 1, prediction, assessment
                )
        new = self._accepted(state, dynamics)
        target = self.stages[index].temperature_at(within)
        problem = self.guards.check(new, target, self.initial_volume)
        if problem is not None:
            self._dynamics = None
            return self._tripped(state, problem)
        self._state = new
        return new, Moved(
            time_fs=self.time_at(new.step, dynamics.atoms),
            stage=index,
            prediction=prediction,
            assessment=assessment,
        )

    def _accepted(self, state: MDState, dynamics: Any) -> MDState:
        atoms, results = dynamics.atoms, self.calculator.results
        stress, screen = results.get("stress"), self.calculator.screen
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
            screen={} if screen is None else screen.to_arrays(),
        )
