"""One round of a path: its ends are relaxed, its images moved, and what decides is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from onfly.dynamics.correction import anchor_arrays
from onfly.dynamics.guards import Guards
from onfly.dynamics.neb import Band, interpolated, move_band
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.state import MDState
from onfly.potentials.execution import one_thread
from onfly.rounds.decisions import undecided, with_requests
from onfly.rounds.explore import explore
from onfly.rounds.progress import Progress
from onfly.rounds.requests import assessed, request_of
from onfly.schemas import RunState, TrajectoryDoc
from onfly.session import OpenRun, Session

__all__ = ["explore_path"]


def explore_path(session: Session, state: RunState) -> RunState:
    """Relax the ends of a path and, when they are relaxed, move the images between them.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``explore``; its trajectories are the images, in order.

    Returns
    -------
    RunState
        With the labels that decide: of ends that have none, of the highest image, and of every
        image where the criterion fires. While an end is not relaxed, with what that one asks for.
        The images are moved anew after a kill, to the same numbers: nothing of it is random.
    """
    images = list(state.trajectories)
    for k in (0, len(images) - 1):
        images[k] = explore(session, state.posterior, images[k])
    state = state.with_trajectories(images)
    if not (images[0].done and images[-1].done):
        return state
    run = session.open(state.posterior)
    began = time.process_time()
    with one_thread():
        predictor = run.predictor()
        band = move_band(
            predictor,
            _states(run, images),
            state.posterior.spec.trajectories.stages[0],
            Guards(min_distance=state.posterior.spec.guards.min_distance),
        )
        moved = [
            t if k in (0, len(images) - 1) else _moved(run, t, band) for k, t in enumerate(images)
        ]
        state = state.with_trajectories(moved)
        ledger = run.ledger()
        ends = undecided((moved[0], moved[-1]), ledger)
        state = with_requests(run, state, [*ends, band.saddle])
        if state.posterior.spec.trajectories.stages[0].calls:
            state = _unsure(run, state, predictor, band)
    spent = time.process_time() - began
    trajectories = list(state.trajectories)
    middle = trajectories[band.saddle]
    trajectories[band.saddle] = middle.model_copy(
        update={"cpu_seconds": middle.cpu_seconds + spent}
    )
    Progress(run.workspace.folder)(
        force=True,
        phase="explore",
        md_step=state.md_step,
        n_steps_total=state.n_steps_total,
    )
    return state.with_trajectories(trajectories)


def _states(run: OpenRun, images: Sequence[TrajectoryDoc]) -> list[MDState]:
    """Return the states of the images; between ends that were just relaxed they are new."""
    states = [MDState.from_arrays(run.workspace.load_md_state(t.md_state)) for t in images]
    if images[1].md_step > 0:
        return states
    atoms = interpolated(states[0].to_atoms(), states[-1].to_atoms(), len(states))
    return [
        # the ends keep their positions to the last bit
        state if k in (0, len(states) - 1) else replace(state, positions=image.positions)
        for k, (state, image) in enumerate(zip(states, atoms, strict=True))
    ]


def _moved(run: OpenRun, trajectory: TrajectoryDoc, band: Band) -> TrajectoryDoc:
    """Return an image after the band was moved; only the highest one keeps its anchor."""
    state = band.states[trajectory.index]
    kept = anchor_arrays(state) if trajectory.index == band.saddle else {}
    return trajectory.model_copy(
        update={
            "md_state": run.workspace.save_md_state(replace(state, integrator=kept).to_arrays()),
            "md_step": state.step,
            "n_steps": state.step,
            "requests": (),
            "supplied": None,
            "segment": trajectory.segment + 1,
            "done": True,
        }
    )


def _unsure(run: OpenRun, state: RunState, predictor: Predictor, band: Band) -> RunState:
    """Ask for labels of the images where the criterion fires, beside that of the highest one."""
    trajectories = list(state.trajectories)
    for k in range(1, len(trajectories) - 1):
        if k == band.saddle:
            continue
        at = band.states[k]
        atoms, found, assessment = assessed(run, predictor, at)
        if assessment.fires:
            request = request_of(run, k, "uncertain", at.step, atoms, found, assessment)
            trajectories[k] = trajectories[k].model_copy(update={"requests": (request,)})
    return state.with_trajectories(trajectories)
