"""A whole on-the-fly run in one process, and its figures, also of one that is not finished."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jobflow import Maker

from onfly.analysis.metrics import binomial_interval, rmse
from onfly.bayes.calibration import Calibration
from onfly.jobs.resident import run_loop as run_rounds
from onfly.rounds.new import new_run
from onfly.schemas import LabelDoc, RunState, to_structure
from onfly.session import Session
from onfly.settings import get_settings
from onfly.spec import MDStage, RunSpec

__all__ = ["LoopSettings", "label_rows", "read_run", "run_loop", "summary"]

CALLS = ("uncertain", "guard", "warmup")


@dataclass
class LoopSettings:
    """What defines a run.

    Parameters
    ----------
    atoms
        Where it starts.
    labeller
        Maker of labels.
    threshold
        In `unit`, for the whole cell.
    energy
        eV per `unit`, of the figures.
    time_step
        fs.
    friction
        1/fs, of the Langevin thermostat.
    """

    run_id: str
    atoms: Atoms
    foundation: str
    labeller: Maker
    threshold: float
    unit: str
    energy: float
    posterior: dict[str, Any]
    stages: list[MDStage]
    time_step: float
    friction: float = 0.01
    audit_interval: int = 100
    workers: int = 1
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def run_loop(settings: LoopSettings, folder: Path) -> None:
    """Run, or go on with, the loop; all its files are under ``folder``."""
    from ase import units

    os.environ["ONFLY_ARTIFACT_DIR"] = str(folder.absolute())
    thermostat = {"friction": settings.friction / units.fs}
    stages = [stage.evolve(ase_md_kwargs=thermostat) for stage in settings.stages]
    spec = RunSpec.from_flat(
        {
            "foundation_model": settings.foundation,
            "threshold": f"{settings.threshold} {settings.unit}",
            "stages": stages,
            "time_step": settings.time_step,
            "posterior": settings.posterior,
            "audit_interval": settings.audit_interval,
            "n_workers": settings.workers,
            "seed": settings.seed,
            **settings.extra,
        }
    )
    structure = to_structure(settings.atoms)
    run_rounds(new_run(spec, structure, run_id=settings.run_id), [structure], settings.labeller)


def read_run(run_id: str, folder: Path) -> tuple[RunState, list[LabelDoc]]:
    """Return state and labels of a run, finished or not."""
    session = Session(get_settings(ARTIFACT_DIR=folder.absolute()))
    state = session.workspace(run_id).read_state()
    return state, session.open(state.posterior).labels_in_context()


def _rms(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return rmse(np.array(known)) if known else None


def label_rows(labels: Sequence[LabelDoc], energy: float) -> list[dict[str, Any]]:
    """Return a row for each label; energies in units of ``energy`` eV, forces in eV/Å."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else value / energy

    return [
        {
            "label": label.index,
            "reason": label.reason,
            "md_step": label.md_step,
            "error": scaled(label.error),
            "std": scaled(label.predicted_std),
            "probability": label.probability,
            "foundation_error": scaled(_foundation_error(label)),
            "force_rmse": label.force_rmse,
            "foundation_force_rmse": label.foundation_force_rmse,
            "label_s": label.elapsed,
        }
        for label in labels
    ]


def _foundation_error(label: LabelDoc) -> float | None:
    return None if label.foundation_energy is None else label.foundation_energy - label.energy


def summary(run: RunState, labels: Sequence[LabelDoc], energy: float) -> dict[str, Any]:
    """Return the figures of a run: labels by reason, audits with their interval, CPU by kind."""
    calls = [label for label in labels if label.reason in CALLS]
    audits = [label for label in labels if label.reason in ("audit", "closing")]
    threshold = run.posterior.threshold_ev or 0.0
    within = sum(abs(label.error or 0.0) <= threshold for label in audits)
    foundation = [_foundation_error(label) for label in audits]
    low, high = binomial_interval(within, len(audits))
    row: dict[str, Any] = {
        "phase": run.phase,
        "md_steps": run.md_step,
        "of": run.n_steps_total,
        "labels": len(labels),
        "waits": run.posterior.n_waits,
        "calls": len(calls),
        "calls_last_half": sum(2 * (label.md_step or 0) > run.md_step for label in calls),
        "audits": len(audits),
        "within": within,
        "coverage": within / len(audits) if audits else None,
        "coverage_low": low,
        "coverage_high": high,
        "foundation_within": sum(
            abs(error) <= threshold for error in foundation if error is not None
        ),
        "audit_rmse": _rms([label.error for label in audits]),
        "foundation_rmse": _rms(foundation),
        "call_rmse": _rms([label.error for label in calls]),
        "audit_force_rmse": _rms([label.force_rmse for label in audits]),
        "foundation_force_rmse": _rms([label.foundation_force_rmse for label in audits]),
        "scale_factor": _scale_factor(run),
    }
    for key in ("audit_rmse", "foundation_rmse", "call_rmse"):
        row[key] = None if row[key] is None else row[key] / energy
    row |= {f"cpu_{kind}_s": seconds for kind, seconds in sorted(run.cpu_seconds.items())}
    return row | {"cpu_s": sum(run.cpu_seconds.values())}


def _scale_factor(run: RunState) -> float:
    return Calibration(**run.posterior.calibration.model_dump()).scale_factor


def timed_run(settings: LoopSettings, folder: Path) -> tuple[RunState, list[LabelDoc], float]:
    """Run the loop; return state, labels and wall seconds of this process."""
    start = time.monotonic()
    run_loop(settings, folder)
    return *read_run(settings.run_id, folder), time.monotonic() - start
