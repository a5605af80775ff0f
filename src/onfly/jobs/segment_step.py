"""One segment of MD: from the run's state to the next label, the end, or the wall-time limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onfly.dynamics.calculator import SuppliedLabel
from onfly.dynamics.criteria import AuditSchedule, EnergyCriterion, Warmup
from onfly.dynamics.driver import Driver, Exploded, Finished, LabelRequest, Moved
from onfly.dynamics.guards import Guards
from onfly.dynamics.stages import MDStage, locate, total_steps
from onfly.dynamics.state import MDState
from onfly.dynamics.stopping import StoppingRule
from onfly.jobs.context import RunContext, evolve, open_run, timed
from onfly.jobs.progress import Progress
from onfly.jobs.recorder import Recorder
from onfly.potentials.execution import one_thread
from onfly.schemas import ArtifactRef, PendingLabel, RunDoc

__all__ = ["SegmentOptions", "run_segment"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentOptions:
    """Fields of `SegmentMaker` that the segment itself needs; see there."""

    stages: Sequence[MDStage]
    time_step: float | None
    max_probability: float
    audit_interval: int
    warmup: Warmup
    stopping: StoppingRule
    guards: Guards = field(default_factory=Guards)
    traj_interval: int = 10
    checkpoint_interval: int = 100
    max_walltime: float | None = None
    # of production runs; see `onfly.flows.ProductionMaker`
    watch_only: bool = False
    member: int | None = None
    monitor_interval: int = 1


def run_segment(run: RunDoc, options: SegmentOptions) -> RunDoc:
    """Run MD until something else has to be done.

    Parameters
    ----------
    run
        In phase ``segment``. If a label is pending, it has arrived and its forces are used.
    options
        How to run.

    Returns
    -------
    RunDoc
        In phase ``label``, ``publish``, or still ``segment`` if the wall time is over.
    """
    context = open_run(run)
    with one_thread(), timed(run.cpu_seconds, "md"):
        return _Segment(context, options).run_until_event()


class _Segment:
    def __init__(self, context: RunContext, options: SegmentOptions) -> None:
        run = context.run
        if run.md_state is None:
            raise ValueError(f"run {run.run_id} has no MD state: its first label is missing")
        self.context, self.run, self.options = context, run, options
        self.n_steps = total_steps(options.stages)
        self.workspace = context.workspace
        self.progress = Progress(self.workspace.folder)
        state = MDState.from_arrays(self.workspace.load_md_state(run.md_state))
        supplied = None
        if run.pending is not None:
            supplied = self._supplied(run.pending)
            if run.pending.reason == "guard":
                state = state.with_results(supplied.energy, supplied.forces, supplied.stress)
        self.driver = Driver(
            context.predictor(options.member, options.monitor_interval),
            options.stopping.with_closing(options.stages),
            EnergyCriterion(run.threshold_ev, options.max_probability, options.watch_only),
            context.calibration(),
            context.key,
            audits=AuditSchedule(options.audit_interval, context.key),
            warmup=options.warmup,
            guards=options.guards,
            time_step=options.time_step,
            n_counted=run.calibration.n,
            last_label_step=run.last_label_step,
            initial_volume=run.settings.get("initial_volume"),
            supplied=supplied,
        )
        self.recorder = Recorder(
            self.workspace,
            run.iteration,
            self._start_ref(run),
            context.offset,
            options.traj_interval,
        )
        self.state = self.recorder.resume() or state
        self._uncertain = False

    @staticmethod
    def _start_ref(run: RunDoc) -> ArtifactRef:
        """Identify the start of the segment by the MD state and the label that was waited for."""
        assert run.md_state is not None
        if run.pending is None:
            return run.md_state
        tag = f"{run.md_state.sha256}+{run.pending.index}+{run.n_failures}"
        return run.md_state.model_copy(update={"sha256": tag})

    def _supplied(self, pending: PendingLabel) -> SuppliedLabel:
        label = self.workspace.label(pending.index)
        asked = MDState.from_arrays(self.workspace.load_md_state(pending.structure))
        return SuppliedLabel(
            asked.positions,
            asked.cell,
            label.energy + self.context.offset,
            np.array(label.forces),
            None if label.stress is None else np.array(label.stress),
        )

    def _steps_since_call(self, step: int) -> int:
        return step - self.run.last_intervention_step

    def run_until_event(self) -> RunDoc:
        run, options, rule = self.run, self.options, self.options.stopping
        deadline = None
        if options.max_walltime is not None:
            deadline = time.monotonic() + options.max_walltime
        while True:
            if rule.closed(self.state.step, self.n_steps, run.audits_since_update):
                return self._end("publish", stop_reason="all stages are done")
            stop = rule.early_stop(
                self._steps_since_call(self.state.step),
                run.audits_since_update,
                run.audits_within_since_update,
                run.n_labels - run.settings.get("n_seeds", 0),
            )
            if stop is not None:
                return self._end("publish", stop_reason=stop)
            if deadline is not None and time.monotonic() > deadline:
                return self._end("segment")
            before = self.state
            self.state, event = self.driver.step(before)
            if isinstance(event, Moved):
                self._moved(event)
            elif isinstance(event, Finished):
                reason = "all stages are done"
                if rule.closing_steps:
                    reason += f", with fewer than {rule.min_audits} audits of the final weights"
                return self._end("publish", stop_reason=reason)
            elif isinstance(event, LabelRequest):
                return self._ask(event)
            elif isinstance(event, Exploded):
                return self._exploded(event)

    def _moved(self, event: Moved) -> None:
        state = self.state
        if event.uncertain and not self._uncertain:
            logger.warning(
                "run %s, step %d: P(error > threshold) = %.3f; the MD goes on",
                self.run.run_id,
                state.step,
                event.probability,
            )
        if event.probability is not None:
            self._uncertain = event.uncertain
        self.recorder.record(state, event.time_fs, event.stage, event.energy_std, event.probability)
        self.progress(
            phase="segment",
            md_step=state.step,
            n_steps_total=max(self.n_steps, self.state.step),
            time_fs=event.time_fs,
            temperature=state.temperature,
            energy_std=event.energy_std,
            probability=event.probability,
        )
        if state.step % self.options.checkpoint_interval == 0:
            self.recorder.checkpoint(state)

    def _end(self, phase: str, **changes: Any) -> RunDoc:
        """Close the segment at the present state."""
        ref = self.recorder.checkpoint(self.state)
        return evolve(
            self.run,
            phase=phase,
            md_state=ref,
            md_step=self.state.step,
            n_steps_total=max(self.n_steps, self.state.step),
            iteration=self.run.iteration + 1,
            pending=None,
            **changes,
        )

    def _ask(self, request: LabelRequest) -> RunDoc:
        logger.info(
            "step %d: label asked for (%s%s)",
            request.md_step,
            request.reason,
            "" if request.probability is None else f", P = {request.probability:.3f}",
        )
        atoms, prediction = request.atoms, request.prediction
        asked = MDState(
            numbers=atoms.numbers,
            pbc=atoms.pbc,
            positions=atoms.positions,
            momenta=np.zeros_like(atoms.positions),
            cell=atoms.cell.array,
            step=request.md_step,
            energy=0.0 if prediction is None else prediction.energy,
            forces=np.zeros_like(atoms.positions) if prediction is None else prediction.forces,
            stress=None,
            source="model",
        )
        pending = PendingLabel(
            index=self.run.n_labels,
            reason=request.reason,  # type: ignore[arg-type]
            md_step=request.md_step,
            structure=self.workspace.save_md_state(asked.to_arrays()),
            predicted_energy=None
            if prediction is None
            else prediction.energy - self.context.offset,
            predicted_std=None if prediction is None else prediction.energy_std,
            probability=request.probability,
            detail=request.detail,
        )
        ended = self._end("label")
        return evolve(ended, pending=pending)

    def _exploded(self, event: Exploded) -> RunDoc:
        """Go on from other velocities; too often is the end of the run."""
        n_failures = self.run.n_failures + 1
        message = f"step {self.state.step + 1}: {event.detail}, although a label gave the forces"
        logger.warning(message)
        stages = self.driver.stages
        stage, within = locate(stages, self.state.step)
        target = stages[stage].temperature_at(within) or self.state.temperature
        self.state = self.state.rewound(target, self.context.key)
        failures = [*self.run.failures, message][-10:]
        ended = self._end("segment")
        if n_failures >= self.run.max_failures:
            return evolve(
                ended,
                phase="publish",
                n_failures=n_failures,
                failures=failures,
                stop_reason=f"the MD exploded {n_failures} times: {event.detail}",
            )
        return evolve(ended, n_failures=n_failures, failures=failures)
