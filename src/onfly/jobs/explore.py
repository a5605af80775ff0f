"""MD segments and the calibration as jobs of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobflow import Maker

from onfly.jobs.base import otf_job
from onfly.rounds.close import after_judge
from onfly.rounds.explore import explore
from onfly.rounds.judge import Answer, judge_round
from onfly.schemas import PosteriorDoc, RunState, TrajectoryDoc
from onfly.session import Session

__all__ = ["CalibrationMaker", "ExploreMaker"]


@dataclass
class ExploreMaker(Maker):
    """Move one trajectory on the present posterior until its part of the round is over.

    Parameters
    ----------
    name
        Name of the jobs.

    Examples
    --------
    >>> ExploreMaker(name="md").name
    'md'
    """

    name: str = "otf segment"

    @otf_job(role="gpu")
    def make(self, posterior: PosteriorDoc, trajectory: TrajectoryDoc) -> TrajectoryDoc:
        """Return the trajectory with the labels that it asks for."""
        session = Session()
        folder = session.workspace(posterior.run_id).trajectory(trajectory.index)
        with folder.lock():
            return explore(session, posterior, trajectory)


@dataclass
class CalibrationMaker(Maker):
    """Check the labels of a round, and update the calibration with what was predicted for them.

    Parameters
    ----------
    name
        Name of the jobs.

    Examples
    --------
    >>> CalibrationMaker(name="judge").name
    'judge'
    """

    name: str = "otf calibration"

    @otf_job(may_miss=True, role="gpu")
    def make(self, state: RunState, outputs: list[Any] | None = None) -> RunState:
        """Return the run after its labels; a run in another phase is passed on.

        Parameters
        ----------
        state
            In phase ``label``.
        outputs
            Task documents in the order of `RunState.due`; None for those that failed.
        """
        session = Session()
        workspace = session.workspace(state.run_id)
        with workspace.lock():
            if workspace.exists():
                known = workspace.read_state()
                if known.posterior.revision > state.posterior.revision:
                    state = known
            if state.phase == "label":
                state = judge_round(session, state, [Answer(o) for o in outputs or []])
            if state.phase == "judge":
                state = after_judge(session, state)
            workspace.write_state(state)
        return state
