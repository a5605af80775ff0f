"""The first configurations, labelled side by side: the initial structure and MD on the foundation.

The first label sets the energy offset; the others teach the ensemble what it would otherwise ask
for one after the other along the first femtoseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from pymatgen.core import Molecule, Structure

from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.criteria import Calibrations, EnergyCriterion
from onfly.dynamics.driver import Event, Finished, MDDriver, Moved
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.relax import RelaxDriver
from onfly.dynamics.stages import MDStage, total_steps
from onfly.dynamics.state import MDState, draw_momenta
from onfly.potentials.execution import one_thread
from onfly.rounds.new import starting_structures
from onfly.rounds.seeds import check_seeds
from onfly.schemas import CalibrationDoc, RequestDoc, RunState, TrajectoryDoc, to_atoms
from onfly.session import OpenRun, Session

__all__ = ["start_run", "state_at_start"]

logger = logging.getLogger(__name__)


def start_run(
    session: Session, state: RunState, structures: Sequence[Structure | Molecule]
) -> RunState:
    """Prepare ensemble and trajectories, and ask for the first labels.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``start``.
    structures
        Where the trajectories start: one for all, or one for each.

    Returns
    -------
    RunState
        In phase ``label``.

    Raises
    ------
    ValueError
        If the number of structures is neither one nor that of the trajectories, their compositions
        differ, or a run whose labels are to be learned is not there.
    """
    spec = state.posterior.spec
    walkers = spec.trajectories.walkers
    one = len(structures) == 1
    structures = starting_structures(structures, spec)
    check_seeds(session, spec.labels.seed_from, structures[0])
    run = session.open(state.posterior)
    method = posterior_from_dict({"kind": spec.posterior.kind, **spec.posterior.options})
    config = method.to_dict()
    kind = config.pop("kind")
    with one_thread():
        ensemble = run.workspace.save_ensemble(
            method.initial(run.potential, run.key), 0, 0
        ).model_copy(update={"settings": config, "posterior": kind})
        ensemble = ensemble.model_copy(update={"strategy": spec.posterior.strategy})
        run = session.open(state.posterior.model_copy(update={"ensemble": ensemble}))
        predictor = run.predictor()
        starts = [_start(run, predictor, structures[k], k) for k in range(walkers)]
        # "auto" was measured at the first evaluation, and is kept for the whole run
        ensemble = ensemble.model_copy(update={"strategy": predictor.strategy})
        path = spec.trajectories.stages[0].driver == "neb"
        # of a path, its ends are labelled first: what lies between has not been looked for yet
        found = (
            [_request(run, starts[k], k, 0) for k in (0, walkers - 1)]
            if path
            else _requests(run, starts, len(structures))
        )
        wanted = 0 if path else spec.rounds.initial_labels - len(found)
        more, ends = _foundation_moves(run, predictor, starts, wanted)
        found += more
        if one:
            # trajectories from one configuration would ask for the same labels
            starts = [starts[0], *ends[1:]]
    trajectories = []
    for k, start in enumerate(starts):
        trajectories.append(
            TrajectoryDoc(
                index=k,
                md_state=run.workspace.save_md_state(start.to_arrays()),
                n_steps=total_steps(spec.trajectories.stages),
                initial_volume=start.volume,
                requests=tuple(found) if k == 0 else (),
            )
        )
    return state.with_trajectories(trajectories).evolve(
        phase="label", ensemble=ensemble, calibration=_calibration(run)
    )


def _calibration(run: OpenRun) -> CalibrationDoc:
    """Return the calibration with the foundation's prior, unless the user gave one."""
    calibration, given = run.doc.calibration, run.spec.calibration
    if given.shape is not None:
        return calibration
    defaults = run.potential.defaults
    return calibration.model_copy(update={"shape": defaults.shape, "rate": defaults.rate})


def _start(
    run: OpenRun, predictor: Predictor, structure: Structure | Molecule, index: int
) -> MDState:
    """Return the state of a trajectory at step 0, with the foundation's results."""
    atoms = to_atoms(structure)
    return state_at_start(run, predictor, atoms, (*run.trajectory_key(index), "velocities"))


def state_at_start(
    run: OpenRun, predictor: Predictor, atoms: Atoms, key: tuple[str | int, ...]
) -> MDState:
    """Return the state at step 0: evaluated, with velocities unless it must start at rest.

    Parameters
    ----------
    run
        With the stages; the first one gives the temperature.
    predictor
        Gives energy, forces and, where it can, stress.
    atoms
        Where the trajectory starts.
    key
        Names the random stream of the velocities.
    """
    first = run.spec.trajectories.stages[0]
    momenta = np.zeros((len(atoms), 3))
    if first.temperature is not None:
        momenta = draw_momenta(atoms, first.temperature_at(0) or 0.0, key)
    stress = bool(atoms.pbc.all()) and run.potential.supports_stress
    prediction = predictor.predict(atoms, stress=stress)
    return MDState(
        numbers=atoms.numbers,
        pbc=atoms.pbc,
        positions=atoms.positions,
        momenta=momenta,
        cell=atoms.cell.array,
        step=0,
        energy=prediction.energy,
        forces=prediction.forces,
        stress=prediction.stress,
        source="model",
    )


def _request(run: OpenRun, state: MDState, trajectory: int, step: int) -> RequestDoc:
    asked = replace(state, momenta=np.zeros_like(state.positions), integrator={}, step=0)
    return RequestDoc(
        reason="initial",
        trajectory=trajectory,
        md_step=step,
        structure=run.workspace.save_md_state(asked.to_arrays()),
    )


def _requests(run: OpenRun, starts: Sequence[MDState], n_structures: int) -> list[RequestDoc]:
    """Return one request for each structure that a trajectory starts from."""
    return [_request(run, starts[k], k, 0) for k in range(min(n_structures, len(starts)))][
        : 1 if _same(starts) else None
    ]


def _same(starts: Sequence[MDState]) -> bool:
    first = starts[0]
    return all(
        np.array_equal(s.positions, first.positions) and np.array_equal(s.cell, first.cell)
        for s in starts
    )


def _foundation_moves(
    run: OpenRun, predictor: Predictor, starts: Sequence[MDState], n_wanted: int
) -> tuple[list[RequestDoc], list[MDState]]:
    """Return configurations from the stage on the foundation, spread over the trajectories.

    Their steps are counted below zero: they lie before the run. The last configuration of each
    trajectory is returned as a state at step 0.
    """
    spacing, first = run.spec.rounds.initial_steps, run.spec.trajectories.stages[0]
    found: list[RequestDoc] = []
    drivers, states = [], []
    for k, start in enumerate(starts):
        key = (*run.trajectory_key(k), "foundation")
        drivers.append(
            (RelaxDriver if first.searches else MDDriver)(
                predictor,
                [_long(first, spacing * max(n_wanted, 1))],
                EnergyCriterion(1.0, watch_only=True),
                Calibrations(),
                key,
                time_step=run.spec.trajectories.time_step,
            )
        )
        states.append(state_at_start(run, predictor, start.to_atoms(), (*key, "velocities")))
    ends = list(starts)
    alive = set(range(len(starts)))
    while len(found) < n_wanted and alive:
        for k in sorted(alive):
            if len(found) == n_wanted:
                break
            for _ in range(spacing):
                states[k], event = drivers[k].step(states[k])
                if not isinstance(event, Moved):
                    _ended(states[k], k, event)
                    if isinstance(event, Finished) and states[k].step > 0:
                        found.append(_request(run, states[k], k, -states[k].step))
                    alive.discard(k)
                    break
            else:
                found.append(_request(run, states[k], k, -states[k].step))
                ends[k] = replace(states[k], step=0, integrator={})
    return found, ends


def _ended(state: MDState, trajectory: int, event: Event) -> None:
    if not isinstance(event, Finished):
        logger.warning(
            "MD on the foundation stopped at step %d of trajectory %d: %s",
            state.step, trajectory, getattr(event, "detail", event),
        )  # fmt: skip


def _long(stage: MDStage, n_steps: int) -> MDStage:
    """Return the conditions at the beginning of a stage, for a number of steps."""
    return stage.model_copy(update={"n_steps": n_steps, "temperature": stage.temperature_at(0)})
