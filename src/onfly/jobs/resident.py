"""The whole loop in one process, on the same phases as the chain of jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobflow import Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import full_disk_named
from onfly.bayes.parallel import ChainPool
from onfly.jobs.base import otf_job
from onfly.jobs.cpu import timed
from onfly.labels.ase import AseLabelMaker
from onfly.rounds.ask import answers_here
from onfly.rounds.judge import Answer
from onfly.rounds.table import Round, advance
from onfly.schemas import RunState
from onfly.session import Session

__all__ = ["ResidentMaker", "run_loop"]

logger = logging.getLogger(__name__)


def run_loop(
    state: RunState,
    structures: Sequence[Structure | Molecule],
    label_maker: Maker,
    *,
    session: Session | None = None,
    prev_dir: str | None = None,
    n_workers: int | None = None,
) -> RunState:
    """Do one phase after the other until the run can be published.

    The state is on disk before the next phase begins; a run that was interrupted goes on.

    Parameters
    ----------
    state
        Of a new run, or of one that is taken up.
    structures
        Where the trajectories start.
    label_maker
        Called in this process.
    session
        None makes one.
    prev_dir
        Directory that the first label may start from.
    n_workers
        Processes for updates; None takes the settings of the machine.

    Returns
    -------
    RunState
        In phase ``publish``, ``done`` or ``stopped``.
    """
    session = session or Session()
    workspace = session.workspace(state.run_id)
    with workspace.lock():
        if workspace.exists():
            state = workspace.read_state()
            logger.info("run %s goes on in phase %s", state.run_id, state.phase)
        else:
            workspace.write_state(state)
        n_workers = n_workers or state.posterior.spec.posterior.n_workers
        n_workers = n_workers or session.settings.n_workers
        pool = ChainPool(n_workers) if n_workers > 1 else None
        spent: dict[str, float] = {}

        def answers(present: RunState) -> list[Answer]:
            with timed(spent, "label", children=True):
                return answers_here(session, present, label_maker, prev_dir)

        def written(present: RunState) -> None:
            workspace.write_state(present)

        work = Round(session, structures, answers, n_workers, pool)
        try:
            with full_disk_named(workspace.folder):
                state = advance(state, work, written=written)
        finally:
            if pool is not None:
                pool.close()
        if spent:
            cpu = dict(state.posterior.cpu_seconds)
            cpu["label"] = cpu.get("label", 0.0) + spent["label"]
            state = state.evolve(cpu_seconds=cpu)
            workspace.write_state(state)
    return state


@dataclass
class ResidentMaker(Maker):
    """Run the loop in one job, with the labeller called in process.

    Parameters
    ----------
    name
        Name of the job.
    label_maker
        The labeller.

    Examples
    --------
    >>> from onfly import label_maker
    >>> ResidentMaker(label_maker=label_maker("emt")).label_maker.calculator
    'ase.calculators.emt.EMT'
    """

    name: str = "otf resident"
    label_maker: Maker = field(default_factory=AseLabelMaker)

    @otf_job(role="gpu")
    def make(
        self,
        state: RunState,
        structures: list[Structure | Molecule],
        prev_dir: str | None = None,
    ) -> Response:
        """Return the final state of the run; a run that was interrupted goes on."""
        return Response(output=run_loop(state, structures, self.label_maker, prev_dir=prev_dir))
