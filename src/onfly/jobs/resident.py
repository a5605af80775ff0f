"""The whole loop in one process, on the same steps as the chain of jobs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from jobflow import Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.parallel import ChainPool
from onfly.jobs.base import otf_job
from onfly.jobs.calibrate import calibrate_run
from onfly.jobs.context import open_run, timed
from onfly.jobs.initial import InitialEnsembleMaker
from onfly.jobs.known_labels import known_label
from onfly.jobs.labelling import label_here, maker_for_attempt
from onfly.jobs.progress import Progress
from onfly.jobs.receive import pending_structure, receive_label
from onfly.jobs.segment import SegmentMaker
from onfly.jobs.segment_step import run_segment
from onfly.jobs.update import update_run
from onfly.labels.errors import LabelError
from onfly.schemas import RunDoc
from onfly.settings import get_settings

__all__ = ["ResidentMaker"]

logger = logging.getLogger(__name__)


@dataclass
class ResidentMaker(Maker):
    """Run the loop in one job, with the labeller called in process.

    Parameters
    ----------
    name
        Name of the job.
    initial_maker, segment_maker
        As in the chain; the segment maker holds the labeller and the makers of an iteration.
    """

    name: str = "otf resident"
    initial_maker: InitialEnsembleMaker = field(default_factory=InitialEnsembleMaker)
    segment_maker: SegmentMaker = field(default_factory=SegmentMaker)

    @otf_job
    def make(
        self, run: RunDoc, structure: Structure | Molecule, prev_dir: str | None = None
    ) -> Response:
        """Return the final state of the run; a run that was interrupted goes on."""
        return Response(output=self.run_loop(run, structure, prev_dir))

    def run_loop(
        self, run: RunDoc, structure: Structure | Molecule, prev_dir: str | None = None
    ) -> RunDoc:
        """Do one step after the other; the state is on disk before the next begins."""
        workspace = open_run(run).workspace
        with workspace.lock():
            if workspace.exists():
                run = workspace.read_run()
                logger.info("run %s goes on in phase %s", run.run_id, run.phase)
            else:
                workspace.write_run(run)
            n_workers = self.segment_maker.update_maker.n_workers or get_settings().n_workers
            pool = ChainPool(n_workers) if n_workers > 1 else None
            try:
                while run.phase not in ("publish", "done", "stopped"):
                    run = self._advance(run, structure, workspace, pool, prev_dir)
                    workspace.write_run(run)
            finally:
                if pool is not None:
                    pool.close()
        return run

    def _advance(
        self,
        run: RunDoc,
        structure: Structure | Molecule,
        workspace: RunWorkspace,
        pool: ChainPool | None,
        prev_dir: str | None,
    ) -> RunDoc:
        segment = self.segment_maker
        if run.phase == "initial":
            output = self._label(run, structure, workspace, prev_dir)
            return self.initial_maker.start(run, structure, output)
        if run.phase == "label":
            requested = pending_structure(run, workspace)
            try:
                output = self._label(run, requested, workspace, run.last_label_dir)
            except LabelError as error:
                return receive_label(run, None, error=str(error))
            return receive_label(run, output)
        if run.phase == "calibrate":
            return calibrate_run(run, segment.calibration_maker.audit_update_fraction)
        if run.phase == "update":
            return update_run(run, segment.update_maker.n_workers, pool)
        return run_segment(run, segment.options)

    def _label(
        self,
        run: RunDoc,
        structure: Structure | Molecule,
        workspace: RunWorkspace,
        prev_dir: str | None,
    ) -> object:
        """Label a structure, unless this run or any other has paid for its label before."""
        pending = run.pending
        index, attempt = (0, 0) if pending is None else (pending.index, pending.attempt)
        if workspace.n_labels() > index:
            return workspace.label(index)
        segment = self.segment_maker
        known = known_label(run, structure, segment.label_maker) if segment.reuse_labels else None
        if known is not None:
            return known
        Progress(workspace.folder)(
            force=True,
            phase="label",
            md_step=run.md_step if pending is None else pending.md_step,
            n_steps_total=run.n_steps_total,
            reason="initial" if pending is None else pending.reason,
        )
        maker = maker_for_attempt(segment.label_maker, attempt)
        folder = workspace.folder / "calculations"
        with timed(run.cpu_seconds, "label", children=True):
            return label_here(maker, structure, index, folder, prev_dir)
