"""One segment of a trajectory: MD on the present posterior until a round is over for it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from onfly.dynamics.calculator import SuppliedLabel
from onfly.dynamics.criteria import Assessment, Criterion
from onfly.dynamics.driver import Exploded, Finished, LabelRequest, Moved
from onfly.dynamics.drivers import driver_of
from onfly.dynamics.guards import Guards
from onfly.dynamics.predictor import StepPrediction
from onfly.dynamics.schedules import AuditSchedule, Warmup, audits_suffice, due
from onfly.dynamics.state import MDState
from onfly.potentials.execution import one_thread
from onfly.rounds.criteria import criterion_of
from onfly.rounds.programme import programme
from onfly.rounds.progress import Progress
from onfly.rounds.recorder import Recorder
from onfly.rounds.requests import request_of
from onfly.schemas import PlaceDoc, PosteriorDoc, RequestDoc, TrajectoryDoc
from onfly.session import Session

__all__ = ["ExploreOptions", "explore"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExploreOptions:
    """How a production run differs from the loop; see `onfly.flows.ProductionMaker`.

    Parameters
    ----------
    watch_only
        Never stop at uncertain configurations, only mark them.
    member, monitor_interval
        The member that is the force field, and how often the ensemble looks at it.
    """

    watch_only: bool = False
    member: int | None = None
    monitor_interval: int = 1


def explore(
    session: Session,
    posterior: PosteriorDoc,
    trajectory: TrajectoryDoc,
    options: ExploreOptions | None = None,
) -> TrajectoryDoc:
    """Move a trajectory until its part of the round is over.

    Parameters
    ----------
    session
        Of the process.
    posterior
        Constant during a round.
    trajectory
        One that waits for labels, and whose round was not cut by the walltime, is returned as it
        is.
    options
        For production.

    Returns
    -------
    TrajectoryDoc
        With the labels that it asks for: audits, on whose way it went on, and at the end perhaps
        a call, for which it waits. `done` if its programme is at its end.
    """
    if trajectory.done or (trajectory.requests and trajectory.round_began is None):
        return trajectory
    with one_thread():
        return _Segment(session, posterior, trajectory, options or ExploreOptions()).run()


class _Segment:
    def __init__(
        self,
        session: Session,
        posterior: PosteriorDoc,
        trajectory: TrajectoryDoc,
        options: ExploreOptions,
    ) -> None:
        run = session.open(posterior)
        self.run_view, self.posterior, self.doc = run, posterior, trajectory
        self.spec = posterior.spec
        self.key = run.trajectory_key(trajectory.index)
        self.workspace = run.workspace
        self.progress = Progress(self.workspace.folder)
        self.closing = posterior.attempt is not None
        first = self.spec.trajectories.stages[0]
        self.searching = first.searches
        # those of a round that the walltime cut
        self.requests: list[RequestDoc] = list(trajectory.requests)
        self._uncertain = False
        self._cpu_start = time.process_time()

        state = MDState.from_arrays(self.workspace.load_md_state(trajectory.md_state))
        supplied = self._supplied(session)
        guarded = trajectory.supplied is not None and trajectory.supplied.reason == "guard"
        if supplied is not None and guarded:
            state = state.with_results(supplied.energy, supplied.forces, supplied.stress)
        self.recorder = Recorder(
            self.workspace.trajectory(trajectory.index),
            trajectory.segment,
            self._start_name(),
            self.workspace.save_md_state,
            run.offset,
            self.spec.trajectories.traj_interval,
        )
        began = trajectory.round_began
        self.first_step = state.step if began is None else began
        start = None if began is None else trajectory.round_start
        self.round_start = start or PlaceDoc(
            md_state=trajectory.md_state,
            md_step=trajectory.md_step,
            time_fs=trajectory.time_fs,
            supplied=trajectory.supplied,
        )
        found = self.recorder.resume()
        if found is not None:
            state, self.requests = found.state, list(found.requests)
        self.state = state
        self.predictor = run.predictor(options.member, options.monitor_interval)
        self.calibrations = run.calibrations()
        quiet = self.searching and not first.calls
        self.criterion = self._criterion(options.watch_only or self.closing or quiet)
        self.driver = self._driver(self.criterion, supplied)
        rounds = self.spec.rounds
        self.audits = AuditSchedule(rounds.audit_interval, self.key, rounds.audit_thinning)
        self.warmup = Warmup(rounds.warmup_labels, rounds.warmup_interval)

    def _criterion(self, watch_only: bool) -> Criterion:
        return criterion_of(self.posterior, self.state.numbers, watch_only=watch_only)

    def _driver(self, criterion: Criterion, supplied: SuppliedLabel | None) -> Any:
        """Return a driver of the trajectory's programme."""
        doc, guards = self.doc, self.spec.guards
        stages = programme(self.posterior, doc)
        return driver_of(stages)(
            self.predictor,
            stages,
            criterion,
            self.calibrations,
            self.key,
            guards=Guards(
                max_temperature=guards.max_temperature,
                min_distance=guards.min_distance,
                max_volume_change=guards.max_volume_change,
            ),
            time_step=self.spec.trajectories.time_step,
            initial_volume=doc.initial_volume,
            supplied=supplied,
            origin=doc.origin,
            origin_time_fs=doc.origin_time_fs,
        )

    def _start_name(self) -> str:
        """Name what the segment begins with: state, label that was waited for, weights."""
        supplied, ensemble = self.doc.supplied, self.posterior.ensemble
        parts = [
            self.doc.md_state.sha256,
            "" if supplied is None else supplied.label,
            "" if ensemble is None else str(ensemble.generation),
            str(self.doc.n_explosions),
        ]
        return "+".join(parts)

    def _supplied(self, session: Session) -> SuppliedLabel | None:
        ref = self.doc.supplied
        if ref is None:
            return None
        label = session.labels.get(ref.label)
        asked = MDState.from_arrays(self.workspace.load_md_state(ref.structure))
        return SuppliedLabel(
            asked.positions,
            asked.cell,
            label.energy + self.run_view.offset,
            np.array(label.forces),
            None if label.stress is None else np.array(label.stress),
        )

    def run(self) -> TrajectoryDoc:
        """Step until the round is over for this trajectory."""
        limit = self.spec.trajectories.max_walltime
        deadline = None if limit is None else time.monotonic() + limit
        while not self._over():
            if deadline is not None and time.monotonic() > deadline:
                return self._end(round_began=self.first_step)
            self.state, event = self.driver.step(self.state)
            if isinstance(event, Moved):
                self._moved(event)
            elif isinstance(event, Finished):
                return self._end(done=True)
            elif isinstance(event, LabelRequest):
                return self._call(event)
            elif isinstance(event, Exploded):
                return self._exploded(event)
        return self._end()

    def _over(self) -> bool:
        """Whether the round is over: at its length, the end of a stage, after the warm-up."""
        step, first = self.state.step, self.first_step
        if step >= self.driver.end:
            return True
        if step == first or self.closing:
            return False
        rounds, quiet = self.spec.rounds, self.spec.stopping.quiet_steps
        if rounds.length is not None and step - first >= rounds.length:
            return True
        if self._audits_suffice():
            return True
        if self.requests and self.driver.locate(step)[1] == 0:
            return True  # what a stage asked for is learned before the next one
        if quiet is not None and step - self.doc.last_call_step >= quiet:
            return True
        n_warmup = sum(request.reason == "warmup" for request in self.requests)
        return n_warmup > 0 and self._n_counted() >= rounds.warmup_labels

    def _audits_suffice(self) -> bool:
        """Whether so many audits wait that they should be judged before the MD goes on."""
        waiting = sum(request.reason == "audit" for request in self.requests)
        judged = self.posterior.n_audits / self.spec.trajectories.walkers
        return audits_suffice(waiting, judged, self.spec.rounds.audit_growth)

    def _n_counted(self) -> float:
        """Errors that the calibration knows or will know at the end of the round.

        The other trajectories, which cannot be asked, are taken to do as this one.
        """
        walkers = self.spec.trajectories.walkers
        return self.posterior.calibration.n + walkers * len(self.requests)

    def _moved(self, event: Moved) -> None:
        state, assessment, prediction = self.state, event.assessment, event.prediction
        probability = None if assessment is None else assessment.probability
        std = None if assessment is None or prediction is None else prediction.energy_std
        if assessment is not None:
            if assessment.exceeded and not self._uncertain:
                logger.warning(
                    "run %s, step %d: P(error > tolerance of %s) = %.3f; the MD goes on",
                    self.posterior.run_id,
                    state.step,
                    assessment.quantity,
                    assessment.probability,
                )
            self._uncertain = assessment.exceeded
        self.recorder.record(state, event.time_fs, event.stage, std, probability)
        if prediction is not None and assessment is not None:
            self._scheduled(prediction, assessment)
        self.progress(
            phase="explore",
            trajectory=self.doc.index,
            md_step=state.step,
            n_steps_total=self.driver.end,
            time_fs=event.time_fs,
            temperature=state.temperature,
            energy_std=std,
            probability=probability,
        )
        if state.step % self.spec.trajectories.checkpoint_interval == 0:
            self.recorder.checkpoint(state, self.requests)

    def _scheduled(self, prediction: StepPrediction, assessment: Assessment) -> None:
        """Ask for a label that is due at this step, without waiting for it."""
        if self.searching:
            return  # what lies on the way to a minimum is of no interest by itself
        step = self.state.step
        if self.closing:
            for look, drawn in enumerate(self.doc.closing_steps):
                if step in drawn:
                    atoms = self.state.to_atoms()
                    request = self._request("closing", step, atoms, prediction, assessment)
                    self.requests.append(request.model_copy(update={"look": look}))
            return
        last = max([self.doc.last_label_step, *(r.md_step for r in self.requests)])
        n, since = self._n_counted(), step - last
        stage_began = step - 1 - self.driver.locate(step - 1)[1]
        origin = max(stage_began, self.doc.audits_from)
        reason = due(
            step, self.audits, self.warmup, origin=origin, n_counted=n, steps_since_label=since
        )
        if reason is not None:
            atoms = self.state.to_atoms()
            request = self._request(reason, step, atoms, prediction, assessment)
            self.requests.append(request.model_copy(update={"place": self._place(atoms)}))

    def _place(self, atoms: Any) -> PlaceDoc:
        """Return the present state, to which the MD can come back."""
        return PlaceDoc(
            md_state=self.workspace.save_md_state(self.state.to_arrays()),
            md_step=self.state.step,
            time_fs=self.driver.time_at(self.state.step, atoms),
        )

    def _request(
        self,
        reason: Any,
        step: int,
        atoms: Any,
        prediction: StepPrediction,
        assessment: Assessment,
        detail: str | None = None,
    ) -> RequestDoc:
        if prediction.bounded:  # what is calibrated is what was predicted, not a bound of it
            prediction = self.predictor.predict(
                atoms, stress=prediction.stress is not None, forces_std=True
            )
            assessment = self.criterion.assess(prediction, self.calibrations)
        return request_of(
            self.run_view, self.doc.index, reason, step, atoms, prediction, assessment, detail
        )

    def _call(self, event: LabelRequest) -> TrajectoryDoc:
        self.requests.append(
            self._request(
                event.reason,
                event.md_step,
                event.atoms,
                event.prediction,
                event.assessment,
                event.detail,
            )
        )
        if event.reason == "uncertain" and not self.searching:
            self._look_ahead(self.spec.rounds.look_ahead_labels)
        # where a guard stops a closing block, the steps that were not reached count as failures
        return self._end(done=self.closing)

    def _look_ahead(self, n_labels: int) -> None:
        """Ask for labels of what lies behind a call, as far as it would be called as well.

        The way is that of the model, with the random numbers of the trajectory: about where it
        will go once the call is answered. The trajectory itself stays where it is.
        """
        if n_labels == 0:
            return
        spacing = self.spec.rounds.look_ahead_steps
        driver, state = self._driver(self._criterion(True), None), self.state
        last = min(state.step + 1 + n_labels * spacing, driver.end)
        for step in range(state.step + 1, last + 1):
            state, event = driver.step(state)
            if not isinstance(event, Moved):
                return
            due = (step - self.state.step - 1) % spacing == 0 and step > self.state.step + 1
            prediction, assessment = event.prediction, event.assessment
            if due and prediction is not None and assessment is not None and assessment.exceeded:
                atoms = state.to_atoms()
                self.requests.append(self._request("ahead", step, atoms, prediction, assessment))

    def _end(self, **changes: Any) -> TrajectoryDoc:
        """Close the segment at the present state."""
        # a segment that is taken up at its end finds its call again by itself, and what lies behind
        again = [r for r in self.requests if not (r.is_call or r.reason == "ahead")]
        ref = self.recorder.checkpoint(self.state, again)
        atoms = self.state.to_atoms()
        done = self.state.step >= self.driver.end
        return self.doc.model_copy(
            update={
                "md_state": ref,
                "md_step": self.state.step,
                "time_fs": self.driver.time_at(self.state.step, atoms),
                "segment": self.doc.segment + 1,
                "supplied": None,
                "requests": tuple(self.requests),
                "round_began": None,
                "round_start": self.round_start,
                "done": done,
                "cpu_seconds": self.doc.cpu_seconds + time.process_time() - self._cpu_start,
                **changes,
            }
        )

    def _exploded(self, event: Exploded) -> TrajectoryDoc:
        """Go on from other velocities; too often is the end of the run."""
        message = (
            f"trajectory {self.doc.index}, step {self.state.step + 1}: {event.detail}, although a "
            "label gave the forces"
        )
        logger.warning(message)
        stage, within = self.driver.locate(self.state.step)
        target = self.driver.stages[stage].temperature_at(within) or self.state.temperature
        self.state = self.state.rewound(target, self.key)
        return self._end(
            n_explosions=self.doc.n_explosions + 1,
            failures=(*self.doc.failures, message)[-10:],
        )
