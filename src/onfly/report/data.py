"""Fill `RunReportData` from the folder of a run: the one place that knows documents and files.

A report is a view and must never stop for an unfinished file. What is missing stays empty, rows
that are being written are left out, and all of it is said in `RunReportData.problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from onfly.artifacts.trajectory import TrajectoryFolder
from onfly.artifacts.workspace import RUNS, RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.labels.errors import LabelError
from onfly.labels.store import LabelStore
from onfly.proof import Ledger, LedgerEntry, closing_block
from onfly.proof import Verdict as Proof
from onfly.report.logs import last_frame, thermo_columns
from onfly.report.records import (
    AUDITS,
    CalibrationState,
    Counts,
    Identity,
    LabelRow,
    Search,
    Stage,
    Tolerance,
    TrainingRow,
    TrajectoryData,
    Verdict,
)
from onfly.report.run_data import RunReportData
from onfly.report.training_file import TrainingRecord
from onfly.report.verdict import describe
from onfly.rounds.close import proof_rule
from onfly.rounds.verdict import judge_run
from onfly.schemas import FineTunedModelDoc, LabelDoc, PosteriorDoc, RunState, TrajectoryDoc
from onfly.schemas.search import BarrierDoc
from onfly.schemas.types import to_atoms
from onfly.spec import MDStage

__all__ = ["judge", "load_documents", "load_run", "workspace_of"]

UNITS = {"force": "eV/Å", "stress": "eV/Å³"}
T = TypeVar("T")


def workspace_of(folder: str | Path) -> RunWorkspace:
    """Return the workspace of a run's folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``run.json``, or lies outside an artifact directory.
    """
    path = Path(folder).expanduser().absolute()
    if not (path / "run.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no run.json: give the folder of a run, <artifact dir>/runs/<run_id>"
        )
    if path.parent.name != RUNS:
        raise FileNotFoundError(
            f"{path} lies in no folder {RUNS!r}: its labels are in the artifact directory, so give "
            "<artifact dir>/runs/<run_id>, of a copy of the whole directory if need be"
        )
    return RunWorkspace(path.parent.parent, path.name)


def load_documents(
    folder: str | Path, problems: list[str] | None = None
) -> tuple[RunState, FineTunedModelDoc | None]:
    """Read the state of a run and its published model, without labels and logs.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``run.json``.
    ArtifactError
        If ``run.json`` is damaged, or of another version of onfly.
    """
    workspace = workspace_of(folder)
    run = workspace.read_state()
    path = workspace.folder / "model.json"
    model = None
    if path.is_file():
        found: list[str] = [] if problems is None else problems
        model = _attempt(
            path, lambda p: FineTunedModelDoc.model_validate_json(p.read_text()), found
        )
    return run, model


def judge(
    run: RunState,
    model: FineTunedModelDoc | None = None,
    ledger: Ledger | None = None,
    n_steps: int | None = None,
) -> Verdict:
    """Return what is proven of a run; what its published model says is kept.

    Parameters
    ----------
    run, model
        Documents of the run's folder.
    ledger
        Of the run; needed where no model is published.
    n_steps
        MD steps so far, where they are ahead of the state.

    Returns
    -------
    onfly.report.records.Verdict
        For people: with reasons and advice. `onfly.proof.judge` is what it rests on.

    Examples
    --------
    >>> from onfly.testing.models import toy_run
    >>> judge(toy_run("r")).state
    'running'
    """
    own = model is not None and model.model_id == run.posterior.model_id
    if own and model is not None and model.verdict:
        return describe(run, Proof.model_validate(model.verdict), n_steps)
    return describe(run, judge_run(run, ledger or Ledger()), n_steps)


def load_run(folder: str | Path) -> RunReportData:
    """Read the folder of a run.

    Parameters
    ----------
    folder
        ``<artifact dir>/runs/<run_id>``.

    Returns
    -------
    RunReportData
        Energies in eV, forces in eV/Å, times in fs.

    Raises
    ------
    FileNotFoundError
        If it holds no ``run.json``.
    ArtifactError
        If ``run.json`` is damaged, or of another version of onfly.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> _ = write_toy_run(get_settings().ARTIFACT_DIR, toy_run("r"))
    >>> load_run(get_settings().ARTIFACT_DIR / "runs" / "r").verdict.state
    'running'
    """
    workspace = workspace_of(folder)
    problems: list[str] = []
    run, model = load_documents(workspace.folder, problems)
    posterior, spec = run.posterior, run.posterior.spec
    ledger = _attempt(
        workspace.ledger_path, lambda _: workspace.read_ledger(posterior.n_records), problems
    ) or Ledger()  # fmt: skip
    records = _trainings(workspace, problems)
    folders = {f.index: f for f in workspace.trajectory_folders()}
    trajectories = tuple(
        _trajectory(doc, folders.get(doc.index), problems) for doc in run.trajectories
    )
    labels = _labels(workspace, ledger, trajectories, problems)
    n_steps = sum(trajectory.n_steps for trajectory in trajectories)
    audits = ledger.of(*AUDITS)
    ensemble = posterior.ensemble
    first = next((row.structure for row in labels if row.structure is not None), None)
    return RunReportData(
        identity=Identity(
            run_id=run.run_id,
            formula=posterior.formula_pretty or "",
            n_atoms=posterior.nsites,
            campaign=posterior.campaign,
            model_id=model.model_id if model else None,
            seed=spec.seed,
            posterior=ensemble.posterior if ensemble else spec.posterior.kind,
            generation=ensemble.generation if ensemble else None,
            energy_offset=posterior.energy_offset,
            level_of_theory=spec.labels.level_of_theory,
        ),
        foundation=posterior.foundation_model,
        labeller=posterior.labeller,
        tolerances=_tolerances(posterior),
        verdict=judge(run, model, ledger, n_steps),
        counts=Counts(
            n_labels=posterior.n_labels,
            n_seeds=posterior.n_seeds,
            n_calls=posterior.n_calls,
            n_audits=posterior.n_audits,
            n_waits=posterior.n_waits,
        ),
        labels=labels,
        audit_outcomes=tuple(entry.within() for entry in audits),
        n_unjudged=sum(entry.label is None for entry in audits),
        trajectories=trajectories,
        stages=tuple(_stage(stage) for stage in spec.trajectories.stages),
        trainings=tuple(_training(record) for record in records),
        calibration=_calibration(run, ledger, problems),
        audit_interval=spec.rounds.audit_interval,
        max_probability=min(t.max_probability for t in spec.tolerance),
        required_coverage=spec.proof.coverage,
        confidence=spec.proof.confidence,
        attempts=spec.proof.attempts,
        cpu_seconds=run.cpu_seconds,
        settings=spec.to_flat(defaults=True),
        structure=to_atoms(model.structure) if model else first,
        properties=model.properties if model else None,
        versions=model.versions if model else {},
        barrier=_barrier(workspace, problems),
        search=_search(spec.trajectories.stages[0]),
        problems=tuple(problems),
    )


def _search(stage: MDStage) -> Search | None:
    if not stage.searches:
        return None
    return Search(stage.driver, stage.resolved_fmax, stage.calls)


def _barrier(workspace: RunWorkspace, problems: list[str]) -> BarrierDoc | None:
    path = workspace.folder / "barrier.json"
    if not path.exists():
        return None
    return _attempt(path, lambda p: BarrierDoc.model_validate_json(p.read_bytes()), problems)


def _tolerances(posterior: PosteriorDoc) -> tuple[Tolerance, ...]:
    found = []
    if posterior.threshold_ev is not None:
        found.append(Tolerance("energy", posterior.threshold_ev, "eV"))
    for tolerance in posterior.spec.tolerance:
        if tolerance.quantity in UNITS:
            found.append(Tolerance(tolerance.name, tolerance.value, UNITS[tolerance.quantity]))
    return tuple(found)


def _trajectory(
    doc: TrajectoryDoc, folder: TrajectoryFolder | None, problems: list[str]
) -> TrajectoryData:
    thermo = thermo_columns(folder.thermo_files() if folder else (), problems)
    logged = int(thermo["step"][-1]) if thermo["step"].size else 0
    return TrajectoryData(
        index=doc.index,
        thermo=thermo,
        n_steps=max(doc.md_step, logged),  # a running segment is ahead of the run's state
        n_steps_total=max(doc.n_steps, doc.md_step),
        n_redone=doc.n_redone,
        last_frame=last_frame(folder.trajectory_files()) if folder else None,
    )


def _labels(
    workspace: RunWorkspace,
    ledger: Ledger,
    trajectories: Sequence[TrajectoryData],
    problems: list[str],
) -> tuple[LabelRow, ...]:
    """Return the entries of the ledger that have a label, with what the store holds of it."""
    store = LabelStore(workspace.store.root / "labels")
    known = {trajectory.index: trajectory for trajectory in trajectories}
    rows = []
    for entry in ledger.entries:
        if entry.label is None:
            continue
        try:
            label: LabelDoc | None = store.get(entry.label)
        except (LabelError, OSError) as error:
            problems.append(f"label {entry.index} could not be read: {str(error).splitlines()[0]}")
            label = None
        trajectory = known.get(entry.trajectory, TrajectoryData(entry.trajectory))
        rows.append(_label(entry, label, trajectory, ledger))
    return tuple(rows)


def _label(
    entry: LedgerEntry, label: LabelDoc | None, trajectory: TrajectoryData, ledger: Ledger
) -> LabelRow:
    return LabelRow(
        index=entry.index,
        reason=entry.reason,
        energy=float("nan") if label is None else label.energy,
        trajectory=entry.trajectory,
        step=entry.step,
        time_fs=float(trajectory.time_fs(entry.step)),
        generation=None if entry.generation < 0 else entry.generation,
        attempt=entry.attempt,
        predicted_mean=entry.mean,
        predicted_std=entry.std,
        probability=entry.probability,
        energy_error=entry.error,
        foundation_error=entry.foundation_error,
        force_rmse=entry.force_rmse,
        foundation_force_rmse=entry.foundation_force_rmse,
        learned_generation=ledger.generation_that_learned(entry.index),
        seconds=None if label is None else label.elapsed,
        corrections=() if label is None else tuple(label.corrections),
        structure=None if label is None else to_atoms(label.structure),
    )


def _trainings(workspace: RunWorkspace, problems: list[str]) -> list[TrainingRecord]:
    found = []
    for path in sorted((workspace.folder / "training").glob("[0-9]*.json")):
        record = _attempt(
            path, lambda p: TrainingRecord.model_validate_json(p.read_bytes()), problems
        )
        if record is not None:
            found.append(record)
    return found


def _training(record: TrainingRecord) -> TrainingRow:
    return TrainingRow(
        generation=record.generation,
        n_labels=record.n_labels,
        seconds=record.seconds,
        drift=record.drift,
        chains=tuple(chain.model_dump() for chain in record.chains),
    )


def _stage(stage: MDStage) -> Stage:
    values = dict.fromkeys(stage.temperatures)
    known = stage.driver == "md"
    return Stage(
        n_steps=str(stage.n_steps),
        temperature=" → ".join(f"{value:g} K" for value in values) or "–",
        pressure="–" if stage.pressure is None else f"{stage.pressure:g} kbar",
        ensemble=f"{stage.ensemble.upper()} ({stage.resolved_dynamics})" if known else stage.driver,
    )


def _calibration(
    run: RunState, ledger: Ledger, problems: list[str]
) -> tuple[CalibrationState, ...]:
    """Replay the calibration: the state that judged each label, and the one after the last."""
    entries = [e for e in ledger.entries if e.error is not None and e.std and np.isfinite(e.std)]
    # the errors of a closing block count once it is decided
    rule = proof_rule(run)
    block = closing_block(ledger, rule) if rule is not None else None
    if block is not None and block.state == "open":
        entries = [e for e in entries if e.attempt != block.attempt]
    content = run.posterior.calibration.model_dump()
    states = _replay(entries, Calibration(**content | {"n": 0.0, "sum_z2": 0.0}))
    if not np.isclose(states[-1].n, content["n"]):
        # it went on from the calibration of a model, or the prior was changed on the way
        n, sum_z2 = (content[k] - getattr(states[-1], k) for k in ("n", "sum_z2"))
        earlier = {"n": max(n, 0.0), "sum_z2": max(sum_z2, 0.0)}
        states = _replay(entries, Calibration(**content | earlier))
        if not np.isclose(states[-1].n, content["n"]):
            problems.append(
                "the history of the calibration is not known exactly, since it began elsewhere or "
                "was changed on the way: figures about error bars are approximate"
            )
    indices = [*(entry.index for entry in entries), None]
    return tuple(
        CalibrationState(index, s.shape + s.n / 2, s.rate + s.sum_z2 / 2)
        for index, s in zip(indices, states, strict=True)
    )


def _replay(entries: Sequence[LedgerEntry], start: Calibration) -> list[Calibration]:
    states = [start]
    for entry in entries:
        if entry.error is not None and entry.std is not None:
            states.append(states[-1].update(entry.error, entry.std))
    return states


def _attempt(path: Path, read: Callable[[Path], T], problems: list[str]) -> T | None:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{path.parent.name}/{path.name} could not be read: {first}")
        return None
