"""A closing block that the model itself doubts is not labelled: its audits would be wasted.

Nothing is learned in a block, so where its MD leads to configurations that the model does not know,
every audit there fails, and the calibrated probabilities say so beforehand. Whether a block is
labelled is decided by the mean over *all* its steps, not over those that were drawn for the audits:
the decision knows neither labels nor draw, and so leaves the guarantee of the proof as it is.
"""

from __future__ import annotations

import logging
import math

from onfly.artifacts.trajectory import watched_steps
from onfly.artifacts.workspace import RunWorkspace
from onfly.schemas import RunState

__all__ = ["expected_failures", "extended"]

logger = logging.getLogger(__name__)


def expected_failures(workspace: RunWorkspace, state: RunState) -> float:
    """Return the share of a block's steps that are expected to fail, by the calibrated criterion.

    Steps that the MD did not reach count as failures, as they do in the proof.

    Parameters
    ----------
    workspace
        Of the run: it has the probability of every step.
    state
        With trajectories at the end of a closing block.
    """
    total = failures = 0.0
    for trajectory in state.trajectories:
        n_steps = trajectory.n_steps - trajectory.origin
        found = 0
        files = workspace.trajectory(trajectory.index).thermo_files()
        for step, p, _ in watched_steps(files):
            if step > trajectory.origin:
                failures += 1.0 if math.isnan(p) else p
                found += 1
        total += n_steps
        failures += max(n_steps - found, 0)
    return failures / total if total else 0.0


def extended(state: RunState, expected: float) -> RunState:
    """Let the trajectories explore on under the conditions of a block, with calls.

    Parameters
    ----------
    state
        At the end of the MD of a closing block of which nothing was labelled.
    expected
        Share of its steps that were expected to fail.
    """
    logger.info(
        "closing block %d is not labelled: %.0f %% of its steps are expected to fail; the run "
        "explores on instead",
        (state.posterior.attempt or 0) + 1, 100 * expected,
    )  # fmt: skip
    trajectories = [
        t.model_copy(
            update={
                "requests": (),
                "closing_steps": (),
                "origin": t.md_step,
                "origin_time_fs": t.time_fs,
                "n_steps": t.md_step + max(t.n_steps - t.origin, 1),
                "last_call_step": t.md_step,
                "supplied": None,
                "done": False,
                "extended": True,
            }
        )
        for t in state.trajectories
    ]
    return state.with_trajectories(trajectories).evolve(
        phase="explore", attempt=None, look=0, n_extensions=state.posterior.n_extensions + 1
    )
