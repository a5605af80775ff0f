"""The posterior learns from all labels of the run."""

from __future__ import annotations

import logging
import time

from onfly.bayes.parallel import ChainPool
from onfly.proof import Ledger
from onfly.rounds.progress import Progress
from onfly.schemas import EnsembleDoc, RunState
from onfly.session import Session, drift_in_prior_stds, keep_files

__all__ = ["learn", "refit"]

logger = logging.getLogger(__name__)


def learn(
    session: Session,
    state: RunState,
    *,
    n_workers: int | None = None,
    pool: ChainPool | None = None,
) -> RunState:
    """Update the posterior with all labels of the ledger.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``learn``, with an ensemble.
    n_workers
        Processes; None takes the settings of the machine.
    pool
        Of worker processes that live on between updates.

    Returns
    -------
    RunState
        In phase ``explore``; or ``close`` if the update was one between closing blocks, or the
        last one before them.
    """
    ledger = session.open(state.posterior).ledger()
    ensemble, cpu = _update(session, state, ledger, "learn", n_workers, pool)
    ledger = ledger.learned(ensemble.generation, ledger.n_labels)
    workspace = session.workspace(state.run_id)
    # the ensemble before is needed if this process is killed before the state is written
    workspace.prune([ensemble, *keep_files(state)])
    workspace.clear_cache(ensemble.generation)
    finished = all(t.done for t in state.trajectories)
    return state.evolve(
        phase="close" if finished else "explore",
        ensemble=ensemble,
        n_records=workspace.write_ledger(ledger),
        cpu_seconds=cpu,
    )


def refit(
    session: Session,
    state: RunState,
    *,
    n_workers: int | None = None,
    pool: ChainPool | None = None,
) -> RunState:
    """Fit weights to all labels beside the proven ones, which stay the run's.

    They are what the next update would have made of the labels of the proof; the ledger does not
    count it, so that a run that is continued goes on from the proven weights.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``refit``, with a proof.
    n_workers, pool
        As for `learn`.

    Returns
    -------
    RunState
        In phase ``publish``, with ``refit``.
    """
    ledger = session.open(state.posterior).ledger()
    ensemble, cpu = _update(session, state, ledger, "refit", n_workers, pool)
    session.workspace(state.run_id).prune([ensemble, *keep_files(state)])
    return state.evolve(phase="publish", refit=ensemble, cpu_seconds=cpu)


def _update(
    session: Session,
    state: RunState,
    ledger: Ledger,
    phase: str,
    n_workers: int | None,
    pool: ChainPool | None,
) -> tuple[EnsembleDoc, dict[str, float]]:
    """Return the ensemble of the next generation, and the CPU times of the run with its own."""
    doc = state.posterior.ensemble
    if doc is None:
        raise ValueError(f"run {state.run_id} has no ensemble to update")
    run = session.open(state.posterior)
    workspace, posterior = run.workspace, run.posterior
    labels = run.labels(ledger)
    generation = doc.generation + 1
    Progress(workspace.folder)(
        force=True,
        phase=phase,
        md_step=state.md_step,
        n_steps_total=state.n_steps_total,
        generation=generation,
        n_labels=len(labels),
    )
    start = time.monotonic()
    samples, info = posterior.update(
        workspace.load_ensemble(doc, run.device),
        run.target_factory(labels),
        seed_key=run.key,
        generation=generation,
        n_new=sum(entry.label is not None for entry in ledger.unlearned),
        n_workers=n_workers
        or state.posterior.spec.posterior.n_workers
        or session.settings.n_workers,
        cache_dir=workspace.update_cache(generation),
        pool=pool,
    )
    seconds = time.monotonic() - start
    workspace.write_training(
        generation,
        {
            "generation": generation,
            "n_labels": len(labels),
            "seconds": seconds,
            "n_cores": info.n_cores,
            "drift": drift_in_prior_stds(samples, posterior, run.potential),
            "chains": list(info.traces),
        },
    )
    ensemble = workspace.save_ensemble(samples, generation, len(labels)).model_copy(
        update={"settings": doc.settings, "strategy": doc.strategy, "n_cores": info.n_cores}
    )
    logger.info("update %d on %d labels took %.1f s", generation, len(labels), seconds)
    cpu = dict(state.posterior.cpu_seconds)
    cpu["update"] = cpu.get("update", 0.0) + info.cpu_seconds
    return ensemble, cpu
