"""Back to an earlier state: after a label that failed, or that broke a tolerance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from onfly.dynamics.state import MDState
from onfly.proof import Ledger, LedgerEntry
from onfly.schemas import ArtifactRef, PlaceDoc, PosteriorDoc, TrajectoryDoc
from onfly.session import OpenRun, Session

__all__ = ["gone_back", "rewound"]

logger = logging.getLogger(__name__)

# the DFT forces of a call already mend what lies so close before it
_SHORT = 10
# labels of configurations that the trajectory itself has reached
_OWN = ("audit", "warmup", "uncertain")


def rewound(trajectory: TrajectoryDoc, session: Session, posterior: PosteriorDoc) -> TrajectoryDoc:
    """Return a trajectory with other velocities at its last state, since its label failed."""
    run = session.open(posterior)
    state = MDState.from_arrays(run.workspace.load_md_state(trajectory.md_state))
    again = state.rewound(max(state.temperature, 1.0), run.trajectory_key(trajectory.index))
    ref: ArtifactRef = run.workspace.save_md_state(again.to_arrays())
    return trajectory.model_copy(update={"md_state": ref, "supplied": None})


def gone_back(
    run: OpenRun, trajectory: TrajectoryDoc, ledger: Ledger, places: Mapping[int, PlaceDoc]
) -> TrajectoryDoc:
    """Return a trajectory at the last place that kept the tolerances, if a label broke them.

    The labels came after the MD, which has gone on with weights that were wrong: these steps are
    set aside and taken again with better ones. MD is cheap beside labels, of which only the audits
    of the stretch are paid for twice. No step is taken a third time.

    Parameters
    ----------
    run
        Whose `RoundsSpec.redo_steps` says how far back a broken tolerance is looked for.
    trajectory
        At the end of a round whose labels have come.
    ledger
        With them.
    places
        By step, where the MD can go on from besides the start of the round.
    """
    start, weights = trajectory.round_start, run.doc.ensemble
    if start is None or weights is None:
        return trajectory
    own = [
        entry
        for entry in ledger.of(*_OWN)
        if entry.trajectory == trajectory.index
        and entry.generation == weights.generation
        and entry.step > start.md_step
        and entry.errors
    ]
    if all(entry.within() for entry in own):
        return trajectory
    trajectory = _back(run, trajectory, start, own, places)
    return trajectory.model_copy(update={"audits_from": trajectory.md_step})


def _back(
    run: OpenRun,
    trajectory: TrajectoryDoc,
    start: PlaceDoc,
    own: Sequence[LedgerEntry],
    places: Mapping[int, PlaceDoc],
) -> TrajectoryDoc:
    """Return the trajectory at the last good place before the first error that is near enough."""
    limit = run.spec.rounds.redo_steps
    since = max(trajectory.redone_to, trajectory.md_step - limit)
    broken = min((e.step for e in own if not e.within() and e.step > since), default=None)
    if limit == 0 or broken is None:
        return trajectory
    kept = [e.step for e in own if e.within() and e.step < broken and e.step in places]
    place = places[max(kept)] if kept else start
    if trajectory.md_step - place.md_step < _SHORT:
        return trajectory
    if not run.workspace.store.path(place.md_state).is_file():
        logger.warning("the MD state of step %d is missing: the MD does not go back", place.md_step)
        return trajectory
    logger.info(
        "trajectory %d, step %d broke a tolerance: the MD goes back from step %d to %d",
        trajectory.index,
        broken,
        trajectory.md_step,
        place.md_step,
    )
    run.workspace.trajectory(trajectory.index).set_aside(place.md_step)
    return trajectory.model_copy(
        update={
            "md_state": place.md_state,
            "md_step": place.md_step,
            "time_fs": place.time_fs,
            "supplied": place.supplied,
            "done": False,
            "redone_to": max(trajectory.redone_to, trajectory.md_step, broken),
            "n_redone": trajectory.n_redone + trajectory.md_step - place.md_step,
            "last_label_step": min(trajectory.last_label_step, place.md_step),
            "last_call_step": min(trajectory.last_call_step, place.md_step),
        }
    )
