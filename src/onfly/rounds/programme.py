"""What a trajectory runs: the stages of the user, and those of a closing block."""

from __future__ import annotations

from collections.abc import Sequence

from onfly.dynamics.stages import MDStage
from onfly.schemas import PosteriorDoc, TrajectoryDoc

__all__ = ["closing_stages", "programme"]


def closing_stages(stages: Sequence[MDStage], n_steps: int) -> list[MDStage]:
    """Return the programme of the user in `n_steps` steps: what is proven holds for all of it.

    Each stage gets its share, at least one step. Ramps are kept.
    """
    total = sum(stage.n_steps for stage in stages)
    found = []
    left, steps_left = total, n_steps
    for stage in stages:
        share = max(1, round(steps_left * stage.n_steps / left)) if left else 1
        left, steps_left = left - stage.n_steps, max(steps_left - share, 0)
        found.append(stage.model_copy(update={"n_steps": share}))
    return found


def programme(posterior: PosteriorDoc, trajectory: TrajectoryDoc) -> list[MDStage]:
    """Return the stages that a trajectory is in."""
    stages = list(posterior.spec.trajectories.stages)
    if posterior.attempt is None and not trajectory.extended:
        return stages
    return closing_stages(stages, trajectory.n_steps - trajectory.origin)
