"""Ensemble update: all chains learn from the labels."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Maker, Response

from onfly.bayes.chain_task import run_chain
from onfly.bayes.parallel import ChainPool
from onfly.bayes.sghmc_posterior import chain_tasks
from onfly.jobs.base import otf_job
from onfly.jobs.context import drift_in_prior_stds, evolve, open_run
from onfly.jobs.progress import Progress
from onfly.schemas import RunDoc

__all__ = ["ChainMaker", "UpdateMaker", "update_run"]

logger = logging.getLogger(__name__)


def update_run(run: RunDoc, n_workers: int | None = None, pool: ChainPool | None = None) -> RunDoc:
    """Run one cycle of every chain on all labels of the run.

    Parameters
    ----------
    run
        In phase ``update``, with an ensemble.
    n_workers
        Processes; None takes the settings of the machine.
    pool
        Of worker processes that live on between updates.

    Returns
    -------
    RunDoc
        In phase ``segment``.
    """
    context = open_run(run)
    doc = run.ensemble
    if doc is None:
        raise ValueError(f"run {run.run_id} has no ensemble to update")
    workspace, posterior = context.workspace, context.posterior
    labels = workspace.labels()[: run.n_labels]
    generation = doc.generation + 1
    progress = Progress(workspace.folder)
    progress(
        force=True,
        phase="update",
        md_step=run.md_step,
        n_steps_total=run.n_steps_total,
        generation=generation,
        n_labels=len(labels),
    )
    start = time.monotonic()
    state, info = posterior.update(
        workspace.load_ensemble(doc, context.settings.DEVICE),
        context.target_factory(labels),
        seed_key=context.key,
        generation=generation,
        n_new=len(labels) - doc.n_labels,
        n_workers=n_workers or context.settings.n_workers,
        cache_dir=workspace.update_cache(generation),
        pool=pool,
    )
    seconds = time.monotonic() - start
    drift = drift_in_prior_stds(state, posterior, context.potential)
    workspace.write_training(
        generation,
        {
            "generation": generation,
            "n_labels": len(labels),
            "seconds": seconds,
            "drift": drift,
            "chains": list(info.traces),
        },
    )
    ensemble = workspace.save_ensemble(state, generation, len(labels)).model_copy(
        update={"settings": doc.settings, "strategy": doc.strategy}
    )
    # The ensemble before is needed if this process is killed before the run's state is written.
    pending = None if run.pending is None else run.pending.structure
    workspace.prune([doc, ensemble, run.md_state, pending])
    workspace.clear_cache(generation)
    logger.info("update %d on %d labels took %.1f s", generation, len(labels), seconds)
    cpu = dict(run.cpu_seconds)
    cpu["update"] = cpu.get("update", 0.0) + info.cpu_seconds
    return evolve(
        run,
        phase="segment",
        ensemble=ensemble,
        audits_since_update=0,
        audits_within_since_update=0,
        cpu_seconds=cpu,
    )


@dataclass
class ChainMaker(Maker):
    """Run one chain of an update, and leave its result where the update looks for it.

    Parameters
    ----------
    name
        Name of the jobs.
    """

    name: str = "otf chain"

    @otf_job
    def make(self, run: RunDoc, chain: int) -> dict[str, Any]:
        """Return the CPU time; the weights stay in the run's folder.

        Parameters
        ----------
        run
            In phase ``update``.
        chain
            Number of the chain, from 0.
        """
        context = open_run(run)
        doc = run.ensemble
        if doc is None:
            raise ValueError(f"run {run.run_id} has no ensemble to update")
        labels = context.workspace.labels()[: run.n_labels]
        tasks = chain_tasks(
            context.posterior,  # type: ignore[arg-type]
            context.workspace.load_ensemble(doc, context.settings.DEVICE),
            context.key,
            generation=doc.generation + 1,
            n_new=len(labels) - doc.n_labels,
            cache_dir=context.workspace.update_cache(doc.generation + 1),
        )
        result = run_chain(context.target_factory(labels)(), tasks[chain])
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
        weights are those of one job. Only for chained runs whose update is a job of its own
        (``SegmentMaker(fuse=False)``); the artifact directory must be shared by all workers.
    """

    name: str = "otf update"
    n_workers: int | None = None
    parallel_chains: bool = False

    @otf_job
    def make(self, run: RunDoc, chains: list[dict[str, Any]] | None = None) -> RunDoc | Response:
        """Return the run with its ensemble updated; a run in another phase is passed on.

        Parameters
        ----------
        run
            The run.
        chains
            Outputs of the jobs of the chains, which this job then only has to gather.
        """
        if run.phase != "update":
            return run
        if self.parallel_chains and chains is None:
            return Response(replace=self._flow(run))
        run = update_run(run, 1 if chains is not None else self.n_workers)
        open_run(run).workspace.write_run(run)
        return run

    def _flow(self, run: RunDoc) -> Flow:
        jobs = [
            ChainMaker(f"{self.name} chain {chain}").make(run, chain)
            for chain in range(open_run(run).posterior.n_members)
        ]
        gather = self.make(run, [job.output for job in jobs])
        return Flow([*jobs, gather], output=gather.output, name=f"{self.name} chains")
