"""Ensemble update: all chains learn from the labels."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from jobflow import Maker

from onfly.bayes.parallel import ChainPool
from onfly.jobs.base import otf_job
from onfly.jobs.context import drift_in_prior_stds, evolve, open_run
from onfly.jobs.progress import Progress
from onfly.schemas import RunDoc

__all__ = ["UpdateMaker", "update_run"]

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
class UpdateMaker(Maker):
    """Update the ensemble with the labels so far.

    Parameters
    ----------
    name
        Name of the jobs.
    n_workers
        Processes for the chains; None takes all cores that the job may use.
    """

    name: str = "otf update"
    n_workers: int | None = None

    @otf_job
    def make(self, run: RunDoc) -> RunDoc:
        """Return the run with its ensemble updated; a run in another phase is passed on."""
        if run.phase != "update":
            return run
        run = update_run(run, self.n_workers)
        open_run(run).workspace.write_run(run)
        return run
