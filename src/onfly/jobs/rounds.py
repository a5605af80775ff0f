"""The round job of a chain: what is due, and the jobs of the next round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from jobflow import CURRENT_JOB, Flow, Job, Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import full_disk_named
from onfly.jobs.base import otf_job
from onfly.jobs.explore import CalibrationMaker, ExploreMaker
from onfly.jobs.routing import route_like_current
from onfly.jobs.update import UpdateMaker
from onfly.labels.answers import LabelRequest
from onfly.labels.failed import is_failed_label
from onfly.labels.failures import report_failures
from onfly.rounds.ask import known_answer, label_job, maker_for_attempt
from onfly.rounds.close import after_explore
from onfly.rounds.decisions import on_path
from onfly.rounds.judge import Answer, requested_structure
from onfly.rounds.table import ENDS, PHASES, Round
from onfly.schemas import RequestDoc, RunState, TrajectoryDoc
from onfly.session import Session

__all__ = ["MAX_LOST", "RoundMaker"]

# jobs of one label that may die in a row before it counts as a label that failed
MAX_LOST = 3


@dataclass
class RoundMaker(Maker):
    """Judge labels, learn, explore; then start the labels of the round and the next round.

    Parameters
    ----------
    name
        Name of the jobs; rounds are numbered.
    fuse
        Whether one job does calibration, update and MD, so that a round waits in two queues;
        otherwise each is a job of its own.
    parallel_walkers
        Whether several trajectories move in jobs side by side.
    explore_maker, calibration_maker, update_maker
        The jobs of a round, as far as they are not fused.
    label_maker
        Any atomate2 maker whose output has energy, forces and stress; `OnTheFlyMaker` sets it.

    Raises
    ------
    ValueError, RuntimeError
        By its jobs: there is no label maker, or the job before failed.

    Examples
    --------
    Each chain of an update as a job of its own, for several GPUs:

    >>> from onfly import OnTheFlyMaker
    >>> from onfly.jobs.update import UpdateMaker
    >>> rounds = RoundMaker(fuse=False, update_maker=UpdateMaker(parallel_chains=True))
    >>> OnTheFlyMaker(threshold="50 meV", round_maker=rounds).round_maker.fuse
    False
    """

    name: str = "otf round"
    fuse: bool = True
    parallel_walkers: bool = True
    explore_maker: ExploreMaker = field(default_factory=ExploreMaker)
    calibration_maker: CalibrationMaker = field(default_factory=CalibrationMaker)
    update_maker: UpdateMaker = field(default_factory=UpdateMaker)
    label_maker: Maker | None = None

    @otf_job(may_miss=True, role="gpu")
    def make(
        self,
        state: RunState | None,
        outputs: list[Any] | None = None,
        trajectories: list[TrajectoryDoc] | None = None,
        structures: list[Structure | Molecule] | None = None,
        prev_dir: str | None = None,
        resumed: bool = False,
        lost: int | None = None,
    ) -> Response:
        """Do what is due for the run, until labels or other jobs are needed.

        Parameters
        ----------
        state
            In any phase.
        outputs
            Task documents of the labels that the run waits for, in the order of `RunState.due`;
            None for those that failed.
        trajectories
            What the jobs of the trajectories made of them.
        structures
            Where the trajectories start, in phase ``start``.
        prev_dir
            Directory that the first label may start from.
        resumed
            Whether an interrupted run is taken up: labels that are waited for are then looked for
            in the run's folder, and asked for again if they are not there.
        lost
            How often in a row jobs of these labels ended without an output. A labeller that fails
            puts out why, so the worker or the database died, and the label is asked for again
            (see `MAX_LOST`). None where the labeller is a flow, whose failures have no output.

        Returns
        -------
        Response
            The final state of the run, or the jobs of the next round.
        """
        if state is None:
            raise RuntimeError("the job before this round failed: mend and rerun that one first")
        session = Session()
        workspace = session.workspace(state.run_id)
        with workspace.lock(), full_disk_named(workspace.folder):
            if workspace.exists():
                known = workspace.read_state()
                if known.posterior.revision > state.posterior.revision:
                    # this job was killed after its work was done, before its manager heard of it
                    state, outputs, trajectories, resumed = known, None, None, True
            began = state.posterior.revision
            if outputs is not None and lost is not None and lost < MAX_LOST:
                outputs = _Reported(outputs)
            state = self._advance(session, state, outputs, trajectories, structures, resumed)
        if state.phase in ENDS:
            return Response(output=state)
        again = state.phase == "label" and state.posterior.revision == began
        earlier, lost = (outputs, (lost or 0) + 1) if again and outputs else (None, 0)
        return Response(replace=self._next(session, state, prev_dir, earlier, lost))

    def _advance(
        self,
        session: Session,
        state: RunState,
        outputs: list[Any] | None,
        trajectories: list[TrajectoryDoc] | None,
        structures: Sequence[Structure | Molecule] | None,
        resumed: bool,
    ) -> RunState:
        workspace = session.workspace(state.run_id)
        if trajectories is not None and state.phase == "explore":
            if any(t is None for t in trajectories):
                raise RuntimeError("a segment of this round failed: mend and rerun it first")
            moved = {t.index: t for t in trajectories}
            state = state.with_trajectories(moved.get(t.index, t) for t in state.trajectories)
            state = after_explore(session, state)
            workspace.write_state(state)
        limit = state.posterior.spec.trajectories.max_walltime
        deadline = None if limit is None else time.monotonic() + limit
        work = Round(session, structures or (), n_workers=self.update_maker.n_workers)
        while state.phase not in ENDS:
            if deadline is not None and time.monotonic() > deadline:
                break
            if state.phase == "label":
                answers = self._answers(session, state, outputs)
                outputs = None
                if answers is None:
                    break
                state = PHASES["label"](state, replace(work, answers=_Given(answers)))
            elif self._apart(state):
                break
            else:
                state = PHASES[state.phase](state, work)
            workspace.write_state(state)
        return state

    def _apart(self, state: RunState) -> bool:
        """Whether the phase is for other jobs."""
        if state.phase == "explore" and not on_path(state):
            several = sum(not t.done for t in state.trajectories) > 1
            return (several and self.parallel_walkers) or not self.fuse
        return state.phase == "learn" and not self.fuse

    def _answers(
        self, session: Session, state: RunState, outputs: list[Any] | None
    ) -> list[Answer] | None:
        """Return the answers to all that is due, or None if a label has to be computed."""
        run = session.open(state.posterior)
        found: list[Answer] = []
        for position, request in enumerate(state.due):
            known = known_answer(run, request, self._labeller)
            if known is not None:
                found.append(Answer(known))
            elif outputs is None or (isinstance(outputs, _Reported) and outputs[position] is None):
                return None
            else:
                found.append(Answer(outputs[position]))
        return found

    @property
    def _labeller(self) -> Maker:
        if self.label_maker is None:
            raise ValueError("the round maker has no label_maker")
        return self.label_maker

    def _next(
        self,
        session: Session,
        state: RunState,
        prev_dir: str | None,
        earlier: list[Any] | None,
        lost: int,
    ) -> Flow:
        """Return the next jobs, of which the last takes over this job's uuid.

        The flow has no output: jobflow would store a reference per level, and reading the first
        uuid of a long chain would never end.
        """
        jobs: list[Job | Flow] = []
        arguments: dict[str, Any] = {}
        given: Any = state
        if state.phase == "label":
            jobs, outputs = self._labels(session, state, prev_dir, earlier)
            if self.fuse:
                arguments["outputs"] = outputs
                if all(isinstance(job, Job) and job.maker is not None for job in jobs):
                    arguments["lost"] = lost
            else:
                calibrate = self._numbered(self.calibration_maker, state).make(state, outputs)
                update = self._numbered(self.update_maker, state).make(calibrate.output)
                jobs += [calibrate, update]
                given = update.output
        elif state.phase == "learn":
            update = self._numbered(self.update_maker, state).make(state)
            jobs, given = [update], update.output
        elif state.phase == "explore" and self._apart(state):
            maker = self._numbered(self.explore_maker, state)
            segments = []
            for trajectory in state.trajectories:
                if trajectory.done:
                    continue
                job = maker.make(state.posterior, trajectory)
                job.name = f"{maker.name} trajectory {trajectory.index}"
                segments.append(job)
            jobs = [*segments]
            arguments["trajectories"] = [job.output for job in segments]
        following = replace(self).make(given, **arguments)
        following.name = f"{self.base_name} {state.posterior.round}"
        following.set_uuid(CURRENT_JOB.job.uuid)
        following.index = CURRENT_JOB.job.index + 1
        jobs.append(following)
        route_like_current(jobs)
        # jobflow adds a host per level to every document of the chain, whose storage would then
        # grow with the square of the labels: the innermost and the outermost flow are enough.
        hosts = CURRENT_JOB.job.hosts
        if len(hosts) > 2:
            CURRENT_JOB.job.hosts = [hosts[0], hosts[-1]]
        return Flow(jobs, name=f"otf round {state.posterior.round}")

    def _labels(
        self,
        session: Session,
        state: RunState,
        prev_dir: str | None,
        earlier: list[Any] | None = None,
    ) -> tuple[list[Job | Flow], list[Any]]:
        """Return the jobs of all labels that are due and unknown, and their outputs.

        Of earlier outputs those are passed on that say why a label failed: it is not tried again
        because another one was lost.
        """
        run = session.open(state.posterior)
        jobs: list[Job | Flow] = []
        outputs: list[Any] = []
        for position, request in enumerate(state.due):
            if known_answer(run, request, self._labeller) is not None:
                outputs.append(None)  # it is looked up again when the round is judged
                continue
            if earlier is not None and is_failed_label(earlier[position]):
                outputs.append(earlier[position])
                continue
            maker = maker_for_attempt(self._labeller, request.attempt)
            job = label_job(
                maker,
                requested_structure(run, request),
                state.posterior.n_labels + position,
                state.posterior.last_label_dir or prev_dir,
            )
            if isinstance(job, Job):  # why a label failed must travel along the chain
                job = report_failures(job, _label_request(state, request))
            _prioritise(job, state)
            jobs.append(job)
            outputs.append(job.output)
        return jobs, outputs

    @property
    def base_name(self) -> str:
        """The name without the number that an earlier round gave it."""
        head, _, tail = self.name.rpartition(" ")
        return head if tail.isdigit() else self.name

    @staticmethod
    def _numbered(maker: Any, state: RunState) -> Any:
        maker = deepcopy(maker)
        head, _, tail = maker.name.rpartition(" ")
        maker.name = f"{head if tail.isdigit() else maker.name} {state.posterior.round}"
        return maker


class _Reported(list[Any]):
    """Outputs of which a missing one is a job that died, and no label that failed."""


@dataclass(frozen=True)
class _Given:
    """Answers that are at hand."""

    answers: Sequence[Answer]

    def __call__(self, state: RunState) -> Sequence[Answer]:
        return self.answers


def _label_request(state: RunState, request: RequestDoc) -> LabelRequest:
    labels = state.posterior.spec.labels
    return LabelRequest(
        run_id=state.run_id,
        key=request.key,
        attempt=request.attempt,
        energy_key=labels.energy_key,
        max_force=labels.max_force,
        max_net_force=labels.max_net_force,
        input_hash=state.posterior.input_hash or None,
    )


def _prioritise(label: Job | Flow, state: RunState) -> None:
    """Let the labels of runs that are closest to their end go first, from 0 to 1000."""
    share = state.md_step / state.n_steps_total if state.n_steps_total else 0.0
    priority = int(1000 * min(share, 1.0))
    # FireWorks reads the first of the two keys, jobflow-remote the second
    keys = {"manager_config->_priority": priority, "manager_config->priority": priority}
    label.update_config({"_set": keys}, dict_mod=True, dynamic=True)
