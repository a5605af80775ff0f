"""Ensemble update as jobs of its own: all chains in one, or each in one, for several GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Maker, Response

from onfly.bayes.chain_task import run_chain
from onfly.bayes.sghmc_posterior import chain_tasks
from onfly.jobs.base import otf_job
from onfly.jobs.routing import route_like_current
from onfly.rounds.learn import learn
from onfly.schemas import RunState
from onfly.session import Session

__all__ = ["ChainMaker", "UpdateMaker"]


@dataclass
class ChainMaker(Maker):
    """Run one chain of an update, and leave its result where the update looks for it.

    Parameters
    ----------
    name
        Name of the jobs.

    Examples
    --------
    >>> ChainMaker().name
    'otf chain'
    """

    name: str = "otf chain"

    @otf_job(role="gpu")
    def make(self, state: RunState, chain: int) -> dict[str, Any]:
        """Return the CPU time; the weights stay in the run's folder.

        Parameters
        ----------
        state
            In phase ``learn``.
        chain
            Number of the chain, from 0.
        """
        run = Session().open(state.posterior)
        doc = state.posterior.ensemble
        if doc is None:
            raise ValueError(f"run {state.run_id} has no ensemble to update")
        ledger = run.ledger()
        posterior: Any = run.posterior  # one with chains
        tasks = chain_tasks(
            posterior,
            run.workspace.load_ensemble(doc, run.device),
            run.key,
            generation=doc.generation + 1,
            n_new=sum(entry.label is not None for entry in ledger.unlearned),
            cache_dir=run.workspace.update_cache(doc.generation + 1),
        )
        result = run_chain(run.target_factory(run.labels(ledger))(), tasks[chain])
        return {"chain": chain, "cpu_seconds": result.cpu_seconds, "reused": result.reused}


@dataclass
class UpdateMaker(Maker):
    """Update the ensemble with the labels so far.

    Parameters
    ----------
    name
        Name of the jobs.
    n_workers
        Processes for the chains; None takes all cores that the job may use.
    parallel_chains
        Whether each chain is a job of its own, for several GPUs, with a job that gathers them. The
        weights are those of one job. The artifact directory must be shared by all workers.

    Examples
    --------
    >>> UpdateMaker(n_workers=8).parallel_chains
    False
    """

    name: str = "otf update"
    n_workers: int | None = None
    parallel_chains: bool = False

    @otf_job(role="gpu")
    def make(
        self, state: RunState, chains: list[dict[str, Any]] | None = None
    ) -> RunState | Response:
        """Return the run with its ensemble updated; a run in another phase is passed on.

        Parameters
        ----------
        state
            The run.
        chains
            Outputs of the jobs of the chains, which this job then only has to gather.
        """
        session = Session()
        workspace = session.workspace(state.run_id)
        if workspace.exists():
            known = workspace.read_state()
            if known.posterior.revision > state.posterior.revision:
                state = known
        if state.phase != "learn":
            return state
        if self.parallel_chains and chains is None:
            return Response(replace=self._flow(session, state))
        with workspace.lock():
            state = learn(session, state, n_workers=1 if chains is not None else self.n_workers)
            workspace.write_state(state)
        return state

    def _flow(self, session: Session, state: RunState) -> Flow:
        jobs = [
            ChainMaker(f"{self.name} chain {chain}").make(state, chain)
            for chain in range(session.open(state.posterior).posterior.n_members)
        ]
        gather = self.make(state, [job.output for job in jobs])
        route_like_current([*jobs, gather])
        return Flow([*jobs, gather], output=gather.output, name=f"{self.name} chains")
