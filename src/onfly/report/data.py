"""Fill `RunReportData` from the folder of a run: the one place that knows documents and files.

A report is a view and must never stop for an unfinished file. What is missing stays empty, rows
that are being written are left out, and all of it is said in `RunReportData.problems`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ase.io
import numpy as np
from ase import Atoms
from pydantic import BaseModel, ValidationError

from onfly.bayes.calibration import Calibration
from onfly.report.records import (
    CalibrationState,
    Counts,
    Identity,
    LabelRow,
    Stage,
    Tolerance,
    TrainingRow,
    TrajectoryData,
    Verdict,
)
from onfly.report.run_data import RunReportData
from onfly.report.verdict import MIN_AUDITS, MIN_COVERAGE, Standing, put_in_words
from onfly.schemas.label import LabelDoc
from onfly.schemas.model import FineTunedModelDoc
from onfly.schemas.run import RunDoc
from onfly.schemas.types import to_atoms

__all__ = ["judge", "load_documents", "load_run"]

THERMO_COLUMNS = (
    "step",
    "time_fs",
    "stage",
    "temperature",
    "potential_energy",
    "kinetic_energy",
    "total_energy",
    "volume",
    "energy_std",
    "probability",
)
DocT = TypeVar("DocT", bound=BaseModel)
T = TypeVar("T")


def load_documents(
    folder: str | Path, problems: list[str] | None = None
) -> tuple[RunDoc, FineTunedModelDoc | None]:
    """Read the state of a run and its published model, without labels and logs.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``run.json``.
    ValueError
        If ``run.json`` is no state of a run.
    """
    path = Path(folder).expanduser()
    if not (path / "run.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no run.json: give the folder of a run, <artifact dir>/runs/<run_id>"
        )
    try:
        run = RunDoc.model_validate_json((path / "run.json").read_text())
    except ValidationError as error:
        raise ValueError(f"{path / 'run.json'} is no state of a run: {error}") from error
    model = None
    if (path / "model.json").is_file():
        found: list[str] = [] if problems is None else problems
        model = _attempt(path / "model.json", _reader(FineTunedModelDoc), found)
    return run, model


def load_run(folder: str | Path) -> RunReportData:
    """Read the folder of a run.

    Raises
    ------
    FileNotFoundError
        If it holds no ``run.json``.
    ValueError
        If ``run.json`` is no state of a run.
    """
    path = Path(folder).expanduser()
    problems: list[str] = []
    run, model = load_documents(path, problems)
    found = _each(path / "labels", "*.json", _reader(LabelDoc), problems)
    docs = sorted(found, key=lambda doc: -1 if doc.index is None else doc.index)
    records = _each(path / "training", "*.json", lambda p: json.loads(p.read_text()), problems)
    trainings = tuple(_training(r) for r in records if isinstance(r, dict) and "generation" in r)
    thermo = _thermo(path / "thermo", problems)
    logged = int(thermo["step"][-1]) if thermo["step"].size else 0
    trajectory = TrajectoryData(
        index=0,
        thermo=thermo,
        n_steps=max(run.md_step, logged),  # a running segment is ahead of the run's state
        n_steps_total=run.n_steps_total,
        stages=tuple(_stage(stage) for stage in run.settings.get("stages") or ()),
        last_frame=_last_frame(path / "trajectory"),
    )
    learned = [(t.generation, t.n_labels) for t in trainings if t.n_labels is not None]
    labels = tuple(_label(doc, trajectory, learned) for doc in docs)
    ensemble = run.ensemble
    stopping = run.settings.get("stopping") or {}
    return RunReportData(
        identity=Identity(
            run_id=run.run_id,
            formula=run.formula_pretty or "",
            n_atoms=len(docs[0].structure) if docs else None,
            campaign=run.campaign,
            model_id=model.model_id if model else None,
            seed=run.seed,
            posterior=ensemble.posterior if ensemble else None,
            generation=ensemble.generation if ensemble else None,
            energy_offset=run.energy_offset,
            level_of_theory=model.level_of_theory if model else None,
        ),
        foundation=run.foundation_model,
        labeller=run.labeller,
        tolerances=(Tolerance("energy", run.threshold_ev, "eV"),),
        verdict=judge(run, model),
        counts=Counts(len(labels), run.n_interventions, run.n_audits),
        labels=labels,
        trajectories=(trajectory,),
        trainings=trainings,
        calibration=_calibration(run, labels),
        audit_interval=run.settings.get("audit_interval"),
        max_probability=run.settings.get("max_probability") or 0.05,
        required_coverage=stopping.get("min_coverage") or MIN_COVERAGE,
        cpu_seconds=run.cpu_seconds,
        settings=run.settings,
        structure=to_atoms(model.structure if model else docs[0].structure) if docs else None,
        versions=model.versions if model else {},
        problems=tuple(problems),
    )


def judge(run: RunDoc, model: FineTunedModelDoc | None = None) -> Verdict:
    """Judge a run by its audits; a published model's own state is kept."""
    stopping = run.settings.get("stopping") or {}
    return put_in_words(
        Standing(
            phase=run.phase,
            threshold=run.threshold_ev,
            # what was audited before the weights last changed was another model
            n_audits=run.audits_since_update,
            n_within=run.audits_within_since_update,
            n_audits_run=run.n_audits,
            n_within_run=run.n_audits_within,
            min_audits=stopping.get("min_audits") or MIN_AUDITS,
            min_coverage=stopping.get("min_coverage") or MIN_COVERAGE,
            published=model.state if model else None,
            stop_reason=run.stop_reason or (model.stop_reason if model else None),
            n_steps=run.md_step,
            n_steps_total=run.n_steps_total,
            n_failures=run.n_failures,
            last_failure=run.failures[-1] if run.failures else None,
        )
    )


def _label(doc: LabelDoc, trajectory: TrajectoryData, learned: list[tuple[int, int]]) -> LabelRow:
    index, step = doc.index or 0, doc.md_step or 0
    energy = doc.foundation_energy
    return LabelRow(
        index=index,
        reason=doc.reason,
        energy=doc.energy,
        trajectory=trajectory.index,
        step=step,
        time_fs=float(trajectory.time_fs(step)),
        generation=max((g for g, n in learned if n <= index), default=None),
        predicted_mean=doc.predicted_energy,
        predicted_std=doc.predicted_std,
        probability=doc.probability,
        energy_error=doc.error,
        foundation_error=None if energy is None else energy - doc.energy,
        force_rmse=doc.force_rmse,
        foundation_force_rmse=doc.foundation_force_rmse,
        learned_generation=min((g for g, n in learned if n > index), default=None),
        seconds=doc.elapsed,
        corrections=tuple(doc.corrections),
        structure=to_atoms(doc.structure),
    )


def _training(record: Mapping[str, Any]) -> TrainingRow:
    return TrainingRow(
        generation=record["generation"],
        n_labels=record.get("n_labels"),
        seconds=record.get("seconds"),
        drift=record.get("drift"),
        chains=tuple(record.get("chains") or ()),
    )


def _stage(stage: Mapping[str, Any]) -> Stage:
    temperature, pressure = stage.get("temperature"), stage.get("pressure")
    values = temperature if isinstance(temperature, list | tuple) else [temperature]
    dynamics = f" ({stage['dynamics']})" if stage.get("dynamics") else ""
    return Stage(
        n_steps=str(stage.get("n_steps", "–")),
        temperature=" → ".join("–" if v is None else f"{float(v):g} K" for v in values),
        pressure="–" if pressure is None else f"{float(pressure):g} kbar",
        ensemble=str(stage.get("ensemble", "nvt")).upper() + dynamics,
    )


def _calibration(run: RunDoc, labels: Iterable[LabelRow]) -> tuple[CalibrationState, ...]:
    """Replay the calibration: the state that judged each label, and the one after the last."""
    state = Calibration(**(run.calibration.model_dump() | {"n": 0.0, "sum_z2": 0.0}))
    states = []
    for label in labels:
        std = label.predicted_std
        if label.energy_error is None or std is None or not np.isfinite(std) or std <= 0:
            continue
        states.append((label.index, state))
        state = state.update(label.energy_error, std)
    return tuple(
        CalibrationState(index, s.shape + s.n / 2, s.rate + s.sum_z2 / 2)
        for index, s in [*states, (None, state)]
    )


def _reader(doc: type[DocT]) -> Callable[[Path], DocT]:
    return lambda path: doc.model_validate_json(path.read_text())


def _files(folder: Path, pattern: str) -> list[Path]:
    # a leading dot marks an unfinished write
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))


def _attempt(path: Path, read: Callable[[Path], T], problems: list[str]) -> T | None:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{path.parent.name}/{path.name} could not be read: {first}")
        return None


def _each(folder: Path, pattern: str, read: Callable[[Path], T], problems: list[str]) -> list[T]:
    found = (_attempt(path, read, problems) for path in _files(folder, pattern))
    return [item for item in found if item is not None]


def _thermo(folder: Path, problems: list[str]) -> dict[str, np.ndarray]:
    rows: dict[int, tuple[list[float], str]] = {}
    for path in _files(folder, "*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                # the last line may be half written: `source` is its last column
                if row.get("source") not in ("model", "label"):
                    continue
                try:
                    values = [float(row.get(name) or "nan") for name in THERMO_COLUMNS]
                    rows[int(values[0])] = (values, row["source"])  # a later segment wins
                except ValueError as error:
                    problems.append(f"a line of thermo/{path.name} could not be read: {error}")
    order = sorted(rows)
    table = np.array([rows[step][0] for step in order]).reshape(len(order), len(THERMO_COLUMNS))
    columns = {name: table[:, i] for i, name in enumerate(THERMO_COLUMNS)}
    columns["source"] = np.array([rows[step][1] for step in order], dtype=str)
    return columns


def _last_frame(folder: Path) -> Atoms | None:
    for path in reversed(_files(folder, "*.extxyz")):
        if path.stat().st_size == 0:
            continue
        for index in (-1, 0):
            try:
                atoms = ase.io.read(path, index=index, format="extxyz")
            except Exception:  # half-written frames raise errors of many kinds
                continue
            if isinstance(atoms, Atoms):
                return atoms
    return None
