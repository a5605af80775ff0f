"""The segment job of a chain: MD until a label is needed, then the jobs of the next iteration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from jobflow import CURRENT_JOB, Flow, Job, Maker, Response

from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.criteria import Warmup
from onfly.dynamics.guards import Guards
from onfly.dynamics.stages import MDStage
from onfly.dynamics.stopping import StoppingRule
from onfly.jobs.base import otf_job
from onfly.jobs.calibrate import CalibrationMaker, calibrate_run
from onfly.jobs.context import open_run
from onfly.jobs.known_labels import known_label
from onfly.jobs.labelling import label_job, maker_for_attempt, prioritise
from onfly.jobs.receive import ExtractMaker, pending_structure, receive_label
from onfly.jobs.segment_step import SegmentOptions, run_segment
from onfly.jobs.update import UpdateMaker, update_run
from onfly.labels.ase import AseLabelMaker
from onfly.schemas import RunDoc

__all__ = ["SegmentMaker"]

logger = logging.getLogger(__name__)


@dataclass
class SegmentMaker(Maker):
    """MD on the ensemble mean, and the recursion of the loop.

    The MD fields are those of atomate2's ``AseMDMaker``; `stages` replaces them.

    Parameters
    ----------
    name
        Name of the jobs; segments are numbered.
    n_steps, temperature, pressure, ensemble, dynamics, ase_md_kwargs
        The one stage of the run, if `stages` is not given; see `MDStage`.
    time_step
        fs; None is 0.5 fs with hydrogen and 2 fs without.
    stages
        Temperature and pressure programme; jumps lie between stages.
    max_probability
        A label is asked for when the calibrated probability that the energy error exceeds the
        threshold is larger (5 % in the paper).
    audit_interval
        Mean number of MD steps between random labels; 0 switches audits off, and nothing then
        proves the accuracy.
    warmup_labels, warmup_interval
        Until that many labels count in the calibration, no stretch without labels is longer than
        that many steps.
    stopping
        When the run may end before its stages are done.
    max_temperature, min_distance
        Guards against explosion; see `Guards`.
    traj_interval
        MD steps between frames of the trajectory.
    checkpoint_interval
        MD steps between checkpoints, from which a killed segment goes on.
    max_walltime
        s, after which a segment ends cleanly and the next one is queued.
    fuse
        Whether one job does extraction, calibration, update and MD, so that an iteration waits in
        two queues; otherwise each is a job of its own.
    reuse_labels
        Whether a label that any run has paid for is taken instead of a new calculation, if it is
        of exactly this configuration with exactly these settings.
    label_maker
        Any atomate2 maker whose output has energy, forces and stress.
    extract_maker, calibration_maker, update_maker
        The other jobs of an iteration.
    """

    name: str = "otf segment"
    n_steps: int = 1000
    temperature: float | Sequence[float] | None = 300.0
    pressure: float | None = None
    ensemble: str = "nvt"
    dynamics: str | None = None
    time_step: float | None = None
    ase_md_kwargs: dict[str, Any] = field(default_factory=dict)
    stages: list[MDStage] | None = None
    max_probability: float = 0.05
    audit_interval: int = 100
    warmup_labels: int = 4
    warmup_interval: int = 10
    stopping: StoppingRule = field(default_factory=StoppingRule)
    max_temperature: float | None = None
    min_distance: float = 0.5
    traj_interval: int = 10
    checkpoint_interval: int = 100
    max_walltime: float | None = None
    fuse: bool = True
    reuse_labels: bool = True
    label_maker: Maker = field(default_factory=AseLabelMaker)
    extract_maker: ExtractMaker = field(default_factory=ExtractMaker)
    calibration_maker: CalibrationMaker = field(default_factory=CalibrationMaker)
    update_maker: UpdateMaker = field(default_factory=UpdateMaker)

    @property
    def resolved_stages(self) -> list[MDStage]:
        """The stages, from `stages` or from the fields of one stage."""
        if self.stages:
            return [MDStage(**s) if isinstance(s, dict) else s for s in self.stages]
        return [
            MDStage(
                n_steps=self.n_steps,
                temperature=self.temperature,
                pressure=self.pressure,
                ensemble=self.ensemble,
                dynamics=self.dynamics,
                time_step=self.time_step,
                ase_md_kwargs=self.ase_md_kwargs,
            )
        ]

    @property
    def options(self) -> SegmentOptions:
        """What the segment itself needs of the fields."""
        return SegmentOptions(
            stages=self.resolved_stages,
            time_step=self.time_step,
            max_probability=self.max_probability,
            audit_interval=self.audit_interval,
            warmup=Warmup(self.warmup_labels, self.warmup_interval),
            stopping=self.stopping,
            guards=Guards(max_temperature=self.max_temperature, min_distance=self.min_distance),
            traj_interval=self.traj_interval,
            checkpoint_interval=self.checkpoint_interval,
            max_walltime=self.max_walltime,
        )

    @otf_job(may_miss=True)
    def make(self, run: RunDoc | None, output: Any = None, resumed: bool = False) -> Response:
        """Do what is due for the run, then MD until the next label.

        Parameters
        ----------
        run
            In any phase after its first label.
        output
            Task document of the label that the run waits for; None if it failed.
        resumed
            Whether an interrupted run is taken up: a label that is waited for is then looked for
            in the run's folder, and asked for again if it is not there.

        Returns
        -------
        Response
            The final state of the run, or the jobs of the next iteration.
        """
        if run is None:
            raise RuntimeError("the job before this segment failed: mend and rerun that one first")
        workspace = open_run(run).workspace
        with workspace.lock():
            run = self._advance(run, output, resumed, workspace)
        if run.phase in ("publish", "done", "stopped"):
            return Response(output=run)
        return Response(replace=self._next(run))

    def _advance(self, run: RunDoc, output: Any, resumed: bool, workspace: RunWorkspace) -> RunDoc:
        if workspace.exists() and (known := workspace.read_run()).iteration > run.iteration:
            # this job was killed after its work was done, before its manager heard of it
            run, resumed = known, True
        if run.phase == "label":
            assert run.pending is not None
            if workspace.n_labels() > run.pending.index:  # never paid for twice
                run = receive_label(run, workspace.label(run.pending.index))
            elif self.fuse and not resumed:
                run = receive_label(run, output)
            workspace.write_run(run)
        while run.phase in ("calibrate", "update", "segment"):
            if run.phase == "calibrate":
                run = calibrate_run(run, self.calibration_maker.audit_update_fraction)
            elif run.phase == "update":
                run = update_run(run, self.update_maker.n_workers)
            else:
                run = run_segment(run, self.options)
                workspace.write_run(run)
                if run.phase == "segment":  # the wall time is over
                    break
            workspace.write_run(run)
        return run

    def _next(self, run: RunDoc) -> Flow:
        """Return the next iteration, whose last job takes over this job's uuid.

        The flow has no output: jobflow would store a reference per level, and reading the first
        uuid of a long chain would never end.
        """
        jobs: list[Job | Flow] = []
        output: Any = None
        state: Any = run
        if run.phase == "label":
            assert run.pending is not None
            structure = pending_structure(run, open_run(run).workspace)
            if self.reuse_labels:
                output = known_label(run, structure, self.label_maker)
            if output is None:
                maker = maker_for_attempt(self.label_maker, run.pending.attempt)
                label = label_job(maker, structure, run.pending.index, run.last_label_dir)
                prioritise(label, run)
                jobs.append(label)
                output = label.output
            if not self.fuse:
                extract = self._numbered(self.extract_maker, run).make(run, output)
                calibrate = self._numbered(self.calibration_maker, run).make(extract.output)
                update = self._numbered(self.update_maker, run).make(calibrate.output)
                jobs += [extract, calibrate, update]
                state, output = update.output, None
        segment = replace(self).make(state, output)
        segment.name = f"{self.base_name} {run.iteration}"
        segment.set_uuid(CURRENT_JOB.job.uuid)
        segment.index = CURRENT_JOB.job.index + 1
        jobs.append(segment)
        # jobflow adds a host per level to every document of the chain, whose storage would then
        # grow with the square of the labels: the innermost and the outermost flow are enough.
        hosts = CURRENT_JOB.job.hosts
        if len(hosts) > 2:
            CURRENT_JOB.job.hosts = [hosts[0], hosts[-1]]
        return Flow(jobs, name=f"otf iteration {run.iteration}")

    @property
    def base_name(self) -> str:
        """The name without the number that an earlier iteration gave it."""
        head, _, tail = self.name.rpartition(" ")
        return head if tail.isdigit() else self.name

    @staticmethod
    def _numbered(maker: Any, run: RunDoc) -> Any:
        maker = deepcopy(maker)
        head, _, tail = maker.name.rpartition(" ")
        maker.name = f"{head if tail.isdigit() else maker.name} {run.iteration}"
        return maker
