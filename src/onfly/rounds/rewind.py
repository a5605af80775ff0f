"""Back to the last accepted state, with other velocities."""

from __future__ import annotations

from onfly.dynamics.state import MDState
from onfly.schemas import ArtifactRef, PosteriorDoc, TrajectoryDoc
from onfly.session import Session

__all__ = ["rewound"]


def rewound(trajectory: TrajectoryDoc, session: Session, posterior: PosteriorDoc) -> TrajectoryDoc:
    """Return a trajectory with other velocities at its last state, since its label failed."""
    run = session.open(posterior)
    state = MDState.from_arrays(run.workspace.load_md_state(trajectory.md_state))
    again = state.rewound(max(state.temperature, 1.0), run.trajectory_key(trajectory.index))
    ref: ArtifactRef = run.workspace.save_md_state(again.to_arrays())
    return trajectory.model_copy(update={"md_state": ref, "supplied": None})
