"""Publish job: the fine-tuned model with all that is needed to judge and to load it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jobflow import Flow, Job, Maker, Response
from pymatgen.core import Molecule, Structure
from scipy.stats import binomtest

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.blobs import ensemble_to_blobs
from onfly.classes.library import element_offsets
from onfly.jobs.archive import ArchiveLabelsMaker
from onfly.jobs.base import otf_job
from onfly.jobs.properties import properties_of_run
from onfly.jobs.routing import route_like_current
from onfly.proof import LedgerEntry
from onfly.rounds.progress import Progress
from onfly.rounds.results import write_result
from onfly.rounds.verdict import judge_run
from onfly.schemas import ErrorStatistics, FineTunedModelDoc, RunState, from_any_structure
from onfly.schemas.packages import installed_versions
from onfly.schemas.version import DOC_VERSION
from onfly.session import Session, drift_in_prior_stds

__all__ = ["PublishMaker", "error_statistics", "publish_run"]

logger = logging.getLogger(__name__)

_PACKAGES = (
    "onfly", "torch", "ase", "atomate2", "jobflow", "pymatgen", "numpy", "scipy", "chgnet",
    "mace-torch", "sevenn", "nequip", "tblite", "pyscf",
)  # fmt: skip


def error_statistics(entries: Sequence[LedgerEntry]) -> ErrorStatistics:
    """Return statistics of the errors of predictions made before each label was learned."""
    known = [entry for entry in entries if entry.error is not None]
    if not known:
        return ErrorStatistics()

    def rms(values: Sequence[float | None]) -> float | None:
        found = [value for value in values if value is not None]
        return float(np.sqrt(np.mean(np.square(found)))) if found else None

    errors = np.array([entry.error for entry in known])
    return ErrorStatistics(
        n=len(known),
        within_threshold=sum(entry.within() for entry in known),
        rmse=rms([entry.error for entry in known]),
        max_abs=float(np.abs(errors).max()),
        foundation_rmse=rms([entry.foundation_error for entry in known]),
        force_rmse=rms([entry.force_rmse for entry in known]),
        foundation_force_rmse=rms([entry.foundation_force_rmse for entry in known]),
    )


def publish_run(
    session: Session, state: RunState, structure: Structure | Molecule
) -> tuple[RunState, FineTunedModelDoc]:
    """Describe the final ensemble, and write the description into the folder of the run.

    Its state is the verdict of the ledger: see `onfly.proof.judge`.

    Raises
    ------
    ValueError
        If the run has no label.
    """
    posterior, spec = state.posterior, state.posterior.spec
    run = session.open(posterior)
    ledger = run.ledger()
    if posterior.ensemble is None or posterior.energy_offset is None:
        raise ValueError(f"run {state.run_id} has nothing to publish: its first label is missing")
    reason = posterior.stop_reason or "unknown"
    verdict = judge_run(state, ledger)
    audits = [e for e in ledger.entries if e.reason in ("audit", "closing")]
    interval = None
    if posterior.n_audits:
        found = binomtest(posterior.n_audits_within, posterior.n_audits)
        bounds = found.proportion_ci(0.95, method="exact")
        interval = (float(bounds.low), float(bounds.high))
    stages = spec.trajectories.stages
    temperatures = [t for s in stages for t in s.temperatures]
    pressures = [s.pressure for s in stages if s.pressure is not None]
    level = spec.labels.level_of_theory or posterior.labeller
    identity = hashlib.sha256(
        "".join([state.run_id, *(ref.sha256 for ref in posterior.ensemble.members)]).encode()
    )
    model = from_any_structure(
        FineTunedModelDoc,
        structure,
        doc_version=DOC_VERSION,
        model_id=f"{posterior.formula_pretty}-{identity.hexdigest()[:12]}",
        run_id=state.run_id,
        campaign=posterior.campaign,
        state=verdict.state,
        stop_reason=reason,
        structure=structure,
        foundation_model=spec.foundation.source,
        foundation_sha256=getattr(run.potential, "sha256", None),
        labeller=posterior.labeller,
        level_of_theory=level,
        input_hash=posterior.input_hash,
        threshold_ev=posterior.threshold_ev,
        temperature_range=(min(temperatures), max(temperatures)) if temperatures else None,
        pressure_range=(min(pressures), max(pressures)) if pressures else None,
        n_steps=state.md_step,
        simulated_time_fs=sum(t.time_fs for t in state.trajectories),
        walkers=spec.trajectories.walkers,
        energy_offset=posterior.energy_offset,
        element_offsets=element_offsets(spec.foundation.source, level),
        energy_std=posterior.energy_std,
        n_labels=posterior.n_labels,
        n_waits=posterior.n_waits,
        n_audits=posterior.n_audits,
        n_audits_within=posterior.n_audits_within,
        coverage=posterior.n_audits_within / posterior.n_audits if posterior.n_audits else None,
        coverage_interval=interval,
        tolerance_atoms=posterior.tolerance_atoms,
        tolerances=[tolerance.model_dump(mode="json") for tolerance in spec.tolerance],
        verdict=verdict.model_dump(mode="json"),
        proven_generation=verdict.generation if verdict.state == "ready" else None,
        calibration=posterior.calibration,
        force_calibration=posterior.force_calibration,
        stress_calibration=posterior.stress_calibration,
        interventions=error_statistics(ledger.calls),
        audits=error_statistics(audits),
        drift=drift_in_prior_stds(
            run.workspace.load_ensemble(posterior.ensemble, run.device),
            run.posterior,
            run.potential,
        ),
        ensemble=posterior.ensemble,
        refit=posterior.refit if verdict.state == "ready" else None,
        spec=spec.model_dump(mode="json"),
        versions=installed_versions(_PACKAGES),
        seed=spec.seed,
        cpu_seconds=state.cpu_seconds,
    )
    atomic_write(run.workspace.folder / "model.json", model.model_dump_json(indent=1).encode())
    done = state.evolve(phase="stopped" if posterior.stopped else "done", model_id=model.model_id)
    write_result(session, done)
    Progress(run.workspace.folder)(
        force=True, phase=done.phase, md_step=state.md_step, n_steps_total=state.n_steps_total
    )
    logger.info("published %s (%s)", model.model_id, verdict.state)
    return done, model


@dataclass
class PublishMaker(Maker):
    """Publish the final ensemble; its weights go to the additional store ``data``.

    Parameters
    ----------
    name
        Name of the job.
    archive_maker
        Of the jobs that put out the labels for the library; None leaves them in the label store.
    label_maker
        Labeller that properties are compared with, where the run asks for it; `OnTheFlyMaker` sets
        it.

    Examples
    --------
    >>> PublishMaker(archive_maker=None).name
    'otf publish'
    """

    name: str = "otf publish"
    archive_maker: ArchiveLabelsMaker | None = field(default_factory=ArchiveLabelsMaker)
    label_maker: Maker | None = None

    @otf_job(data=["weights"], output_schema=FineTunedModelDoc)
    def make(self, state: RunState, structure: Structure | Molecule) -> Response:
        """Return the model's document with its weights."""
        session = Session()
        state, model = publish_run(session, state, structure)
        workspace = session.workspace(state.run_id)
        model.properties = properties_of_run(
            workspace, model, state.posterior.spec, self.label_maker, session.settings.DEVICE
        )
        if model.properties is not None:
            content = model.model_dump_json(indent=1).encode()
            atomic_write(workspace.folder / "model.json", content)
        workspace.write_state(state)
        model.weights = ensemble_to_blobs(workspace.store, *model.ensembles)
        jobs: list[Job | Flow] = []
        if self.archive_maker is not None:
            jobs += self.archive_maker.jobs(session, state)
        route_like_current(jobs)
        if not jobs:
            return Response(output=model)
        return Response(output=model, addition=Flow(jobs))
