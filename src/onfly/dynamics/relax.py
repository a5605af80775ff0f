"""Relaxation on the posterior mean, of the atoms or of atoms and cell, by ASE's optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize.optimize import Optimizer
from ase.stress import voigt_6_to_full_3x3_stress

from onfly.dynamics.calculator import SuppliedLabel
from onfly.dynamics.correction import (
    CorrectedCalculator,
    Shift,
    anchor_arrays,
    shift_of,
)
from onfly.dynamics.criteria import Calibrations, Criterion, needs_stress
from onfly.dynamics.driver import (
    Event,
    Finished,
    LabelRequest,
    Moved,
    StagedDriver,
)
from onfly.dynamics.guards import Guards
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.relax_optimizers import (
    build_optimizer,
    capture,
    curvature,
    largest_force,
    movable,
    restore,
)
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState

__all__ = ["RelaxDriver", "state_force"]


def state_force(state: MDState, stage: MDStage) -> float:
    """Return the largest force of a state in eV/Å, as `largest_force` counts it for a stage.

    Raises
    ------
    ValueError
        If the cell is relaxed and the state has no stress.
    """
    if not stage.cell:
        return largest_force(state.forces)
    if state.stress is None:
        raise ValueError("a relaxation of the cell needs the stress, which the state does not have")
    return largest_force(state.forces, state.stress, state.volume, stage.pressure)


class RelaxDriver(StagedDriver):
    """Take steps of an optimizer on the posterior mean until the largest force is small.

    Every step is judged once by the criterion, on the configuration that it leads to, as in MD. A
    call is answered by going to the labelled configuration and on from there with the label's
    forces. Once a label has decided against the end of a relaxation, the forces are those of the
    mean shifted to that label's (see `onfly.dynamics.correction`).

    Nothing is kept between two steps but the state: what the optimizer remembers, the cell that it
    counts deformations from, and the label that shifts the forces are in ``state.integrator``. An
    optimizer forgets what it knows when the weights of the ensemble change.

    Parameters
    ----------
    predictor, stages, criterion, calibration, guards, initial_volume, supplied, origin
        As of `MDDriver`; there is one stage.
    key, time_step, origin_time_fs
        Without use: there are neither random numbers nor a clock.

    Raises
    ------
    ValueError
        By `step`: the cell is relaxed and a state has no stress.

    Examples
    --------
    >>> from onfly.dynamics.driver import StagedDriver
    >>> issubclass(RelaxDriver, StagedDriver)
    True
    """

    calculator: CorrectedCalculator

    def __init__(
        self,
        predictor: Predictor,
        stages: Sequence[MDStage],
        criterion: Criterion,
        calibration: Calibrations,
        key: tuple[str | int, ...] = (),
        *,
        guards: Guards | None = None,
        time_step: float | None = None,
        initial_volume: float | None = None,
        supplied: SuppliedLabel | None = None,
        origin: int = 0,
        origin_time_fs: float = 0.0,
    ) -> None:
        super().__init__(stages, time_step=time_step, origin=origin, origin_time_fs=origin_time_fs)
        (self.stage,) = self.stages
        self.predictor = predictor
        self.criterion = criterion
        self.calibration = calibration
        self.guards = guards or Guards()
        self.initial_volume = initial_volume
        self.supplied = supplied
        self.calculator = CorrectedCalculator(
            predictor,
            needs_stress=self.stage.cell or needs_stress(criterion),
            forces_std=criterion.needs_forces_std,
        )
        self._weights = np.frombuffer(predictor.fingerprint.encode(), dtype=np.uint8)
        self._anchor: dict[str, np.ndarray] | None = None
        self._shift: Shift | None = None

    def time_at(self, step: int, atoms: Atoms) -> float:
        """Return the time in fs: a relaxation takes none."""
        return self.origin_time_fs

    def step(self, state: MDState) -> tuple[MDState, Event]:
        """Take one step, or say why it cannot be taken; see `onfly.dynamics.driver.Driver`."""
        if state.step >= self.end:
            return state, Finished()
        if self.supplied is not None:
            supplied, self.supplied = self.supplied, None
            if not supplied.fits(state.to_atoms()):
                return self._labelled(state, supplied)
        given, state = state, self._known(state)
        if state_force(state, self.stage) <= self.stage.resolved_fmax:
            return state, Finished()
        optimizer, atoms, origin = self._prepared(state)
        self.calculator.source, self.calculator.prediction = "none", None
        self.calculator.step = state.step + 1
        try:
            with np.errstate(all="ignore"):  # a diverging step is the guards' business
                optimizer.step()
                atoms.get_forces()
        except (FloatingPointError, ValueError, np.linalg.LinAlgError) as error:
            if np.isfinite(atoms.positions).all():
                raise
            return self._tripped(given, f"the step is not finite ({error})")
        prediction, assessment = self.calculator.prediction, None
        if prediction is not None and prediction.watched:
            assessment = self.criterion.assess(prediction, self.calibration)
            if assessment.fires:
                asked: Any = self.calculator.atoms
                return given, LabelRequest(
                    "uncertain", asked.copy(), state.step + 1, prediction, assessment
                )
        new = self._accepted(state, atoms, capture(optimizer), origin)
        problem = self.guards.check(new, None, self.initial_volume)
        if problem is not None:
            return self._tripped(given, problem)
        return new, Moved(
            time_fs=self.origin_time_fs, stage=0, prediction=prediction, assessment=assessment
        )

    def _prepared(self, state: MDState) -> tuple[Optimizer, Atoms, np.ndarray]:
        """Return the optimizer as a state has it, its atoms, and the cell that strains refer to."""
        atoms = state.to_atoms()
        self.calculator.preload(atoms, state)
        atoms.calc = self.calculator
        origin = state.integrator.get("cell", state.cell)
        optimizer = build_optimizer(movable(atoms, self.stage, origin), self.stage, state.epoch)
        restore(optimizer, state.integrator)
        return optimizer, atoms, origin

    def _known(self, state: MDState) -> MDState:
        """Return the state with results of the present weights, unless they are a label's.

        What the optimizer remembers of other weights is dropped.
        """
        anchor = anchor_arrays(state)
        if self._anchor is None or not _same(self._anchor, anchor):
            self._anchor = anchor
            self._shift = shift_of(self.predictor, state, anchor, stress=self.stage.cell)
        self.calculator.shift = self._shift
        weights = state.integrator.get("weights")
        if weights is not None and np.array_equal(weights, self._weights):
            return state
        # the pair of positions and forces that an update would use is a label's and stays so
        memory = state.integrator if "pair" in state.integrator else curvature(state.integrator)
        kept = {k: v for k, v in state.integrator.items() if k == "cell"}
        state = replace(state, integrator={**memory, **anchor, **kept, "weights": self._weights})
        if state.source == "label" and not (self.stage.cell and state.stress is None):
            return state
        found = self.predictor.predict(state.to_atoms(), stress=self.calculator.needs_stress)
        forces, stress = found.forces, found.stress
        if self._shift is not None:
            forces = forces + self._shift.forces
            if stress is not None and self._shift.stress is not None:
                stress = stress + self._shift.stress
        return replace(state, energy=found.energy, forces=forces, stress=stress, source="model")

    def _labelled(self, state: MDState, label: SuppliedLabel) -> tuple[MDState, Event]:
        """Go to the configuration that was asked for, with the results of its label.

        The optimizer remembers the step, if that led from one label to another.
        """
        memory = curvature(state.integrator)
        if state.source == "label":
            optimizer, _, _ = self._prepared(state)
            optimizer.step()
            memory = capture(optimizer) | {"pair": np.array(1)}
        kept = {k: v for k, v in state.integrator.items() if k == "cell"}
        new = replace(
            state,
            positions=label.positions,
            momenta=np.zeros_like(label.positions),
            cell=label.cell,
            step=state.step + 1,
            energy=label.energy,
            forces=label.forces,
            stress=label.stress,
            source="label",
            integrator={**memory, **anchor_arrays(state), **kept},
        )
        problem = self.guards.check(new, None, self.initial_volume)
        if problem is not None:
            return self._tripped(state, problem)
        return new, Moved(time_fs=self.origin_time_fs, stage=0)

    def _accepted(
        self,
        state: MDState,
        atoms: Atoms,
        variables: dict[str, np.ndarray],
        origin: np.ndarray,
    ) -> MDState:
        results = self.calculator.results
        stress = results.get("stress")
        kept = anchor_arrays(state) | {"weights": self._weights}
        if self.stage.cell:
            kept["cell"] = origin
        return replace(
            state,
            positions=atoms.get_positions(),
            momenta=np.zeros((len(atoms), 3)),
            cell=atoms.cell.array.copy(),
            step=state.step + 1,
            energy=float(results["energy"]),
            forces=results["forces"].copy(),
            stress=None if stress is None else voigt_6_to_full_3x3_stress(stress),
            source="model",
            integrator=kept | variables,
            screen={},
        )


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
