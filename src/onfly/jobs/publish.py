"""Publish job: the fine-tuned model with all that is needed to judge and to load it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from jobflow import Flow, Job, Maker, Response
from pymatgen.core import Molecule, Structure
from scipy.stats import binomtest

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.blobs import ensemble_to_blobs
from onfly.dynamics.stages import MDStage, default_time_step
from onfly.dynamics.stopping import StoppingRule
from onfly.jobs.archive import ArchiveLabelsMaker
from onfly.jobs.base import otf_job
from onfly.jobs.context import RunContext, drift_in_prior_stds, evolve, open_run
from onfly.jobs.progress import Progress
from onfly.schemas import (
    ErrorStatistics,
    FineTunedModelDoc,
    LabelDoc,
    RunDoc,
    from_any_structure,
)

__all__ = ["PublishMaker", "publish_run"]

logger = logging.getLogger(__name__)

_PACKAGES = (
    "onfly", "torch", "ase", "atomate2", "jobflow", "pymatgen", "numpy", "scipy", "chgnet",
    "mace-torch", "sevenn", "nequip", "tblite", "pyscf",
)  # fmt: skip


def error_statistics(labels: Sequence[LabelDoc], threshold: float) -> ErrorStatistics:
    """Return statistics of the errors of predictions made before each label was learned."""
    known = [label for label in labels if label.error is not None]
    if not known:
        return ErrorStatistics()
    errors = np.array([label.error for label in known])
    foundation = np.array([(label.foundation_energy or 0.0) - label.energy for label in known])
    forces = [label.force_rmse for label in known if label.force_rmse is not None]
    foundation_forces = [
        label.foundation_force_rmse for label in known if label.foundation_force_rmse is not None
    ]

    def rms(values: Sequence[float] | np.ndarray) -> float | None:
        return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None

    return ErrorStatistics(
        n=len(known),
        within_threshold=int((np.abs(errors) <= threshold).sum()),
        rmse=rms(errors),
        max_abs=float(np.abs(errors).max()),
        foundation_rmse=rms(foundation),
        force_rmse=rms(forces),
        foundation_force_rmse=rms(foundation_forces),
    )


def publish_run(
    run: RunDoc,
    structure: Structure | Molecule,
    stages: Sequence[MDStage],
    time_step: float | None,
    stopping: StoppingRule,
) -> tuple[RunDoc, FineTunedModelDoc]:
    """Describe the final ensemble, and write the description into the folder of the run.

    The model is ``ready`` if audits of the final weights prove the accuracy, ``unproven`` if
    there were too few of them or too many failed, and ``stopped`` if the run was cut short.
    """
    context = open_run(run)
    labels = context.workspace.labels()[: run.n_labels]
    if run.ensemble is None or run.energy_offset is None:
        raise ValueError(f"run {run.run_id} has nothing to publish: its first label is missing")
    proven = stopping.audits_good(run.audits_since_update, run.audits_within_since_update)
    finished = run.stop_reason is not None and not run.n_failures >= run.max_failures
    state = "stopped" if not finished else "ready" if proven else "unproven"
    interval = None
    if run.n_audits:
        found = binomtest(run.n_audits_within, run.n_audits).proportion_ci(0.95, method="exact")
        interval = (float(found.low), float(found.high))
    temperatures = [t for s in stages for t in s.temperatures]
    pressures = [s.pressure for s in stages if s.pressure is not None]
    identity = hashlib.sha256(
        "".join([run.run_id, *(ref.sha256 for ref in run.ensemble.members)]).encode()
    )
    model_id = f"{run.formula_pretty}-{identity.hexdigest()[:12]}"
    model = from_any_structure(
        FineTunedModelDoc,
        structure,
        model_id=model_id,
        run_id=run.run_id,
        campaign=run.campaign,
        state=state,
        stop_reason=run.stop_reason or "unknown",
        structure=structure,
        foundation_model=run.foundation_model,
        foundation_sha256=getattr(context.potential, "sha256", None),
        labeller=run.labeller,
        level_of_theory=run.settings.get("level_of_theory") or run.labeller,
        input_hash=run.input_hash,
        threshold_ev=run.threshold_ev,
        temperature_range=(min(temperatures), max(temperatures)) if temperatures else None,
        pressure_range=(min(pressures), max(pressures)) if pressures else None,
        n_steps=run.md_step,
        simulated_time_fs=_simulated_time(run.md_step, stages, time_step, context),
        energy_offset=run.energy_offset,
        n_labels=run.n_labels,
        n_audits=run.n_audits,
        n_audits_within=run.n_audits_within,
        coverage=run.n_audits_within / run.n_audits if run.n_audits else None,
        coverage_interval=interval,
        calibration=run.calibration,
        interventions=error_statistics(
            [label for label in labels if label.reason not in ("audit", "initial", "seed")],
            run.threshold_ev,
        ),
        audits=error_statistics(
            [label for label in labels if label.reason == "audit"], run.threshold_ev
        ),
        drift=drift_in_prior_stds(
            context.workspace.load_ensemble(run.ensemble, context.settings.DEVICE),
            context.posterior,
            context.potential,
        ),
        ensemble=run.ensemble,
        settings=run.settings,
        versions=_versions(),
        seed=run.seed,
        cpu_seconds=run.cpu_seconds,
    )
    atomic_write(context.workspace.folder / "model.json", model.model_dump_json(indent=1).encode())
    done = evolve(run, phase="done" if finished else "stopped", model_id=model_id)
    Progress(context.workspace.folder)(
        force=True, phase=done.phase, md_step=run.md_step, n_steps_total=run.n_steps_total
    )
    logger.info("published %s (%s)", model_id, state)
    return done, model


def _simulated_time(
    n_steps: int, stages: Sequence[MDStage], time_step: float | None, context: RunContext
) -> float:
    total = 0.0
    for stage in stages:
        taken = min(n_steps, stage.n_steps)
        total += taken * (stage.time_step or time_step or default_time_step(context.elements))
        n_steps -= taken
    return total


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass
class PublishMaker(Maker):
    """Publish the final ensemble; its weights go to the additional store ``data``.

    Parameters
    ----------
    name
        Name of the job.
    archive_maker
        Of the jobs that put out the labels for the library; None leaves them in the run's folder.
    """

    name: str = "otf publish"
    archive_maker: ArchiveLabelsMaker | None = field(default_factory=ArchiveLabelsMaker)

    @otf_job(data=["weights"], output_schema=FineTunedModelDoc)
    def make(
        self,
        run: RunDoc,
        structure: Structure | Molecule,
        stages: list[MDStage],
        time_step: float | None,
        stopping: StoppingRule,
    ) -> Response:
        """Return the model's document with its weights."""
        run, model = publish_run(run, structure, stages, time_step, stopping)
        workspace = open_run(run).workspace
        workspace.write_run(run)

        model.weights = ensemble_to_blobs(workspace.store, model.ensemble)
        jobs: list[Job | Flow] = []
        if self.archive_maker is not None:
            jobs += self.archive_maker.jobs(run.run_id, run.campaign, run.n_labels)
        addition = Flow(jobs) if jobs else None
        return Response(output=model, addition=addition)  # type: ignore[arg-type]
