"""The documents of a relaxation and of a path, made of the files of their run."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from onfly.artifacts.atomic import atomic_write
from onfly.dynamics.differences import energy_differences
from onfly.dynamics.neb import path_lengths
from onfly.dynamics.relax_optimizers import largest_force
from onfly.dynamics.state import MDState
from onfly.potentials.execution import one_thread
from onfly.proof import Ledger, LedgerEntry
from onfly.proof.decision import deciding, saddle_of
from onfly.rounds.decisions import decision_rule, label_force, on_path, searching
from onfly.rounds.verdict import judge_run
from onfly.schemas import LabelDoc, RunState, from_any_structure, to_structure
from onfly.schemas.search import BarrierDoc, BarrierValue, ImageDoc, RelaxationDoc, RelaxedDoc
from onfly.session import OpenRun, Session

__all__ = ["RESULTS", "barrier_document", "relaxation_document", "write_result"]

# names of the files in the folder of a run
RESULTS: dict[type[RelaxationDoc] | type[BarrierDoc], str] = {
    RelaxationDoc: "relaxation.json",
    BarrierDoc: "barrier.json",
}


def write_result(session: Session, state: RunState) -> RelaxationDoc | BarrierDoc | None:
    """Write what came of a relaxation or a path beside the model; None for MD."""
    if not searching(state):
        return None
    doc: Any = (barrier_document if on_path(state) else relaxation_document)(session, state)
    path = session.workspace(state.run_id).folder / RESULTS[type(doc)]
    atomic_write(path, doc.model_dump_json(indent=1).encode())
    return doc


def relaxation_document(session: Session, state: RunState) -> RelaxationDoc:
    """Return what came of the relaxations of a run that has ended.

    Raises
    ------
    ValueError
        If the run does not relax, or has no label.
    """
    if not searching(state) or on_path(state):
        raise ValueError(f"run {state.run_id} is no relaxation: its stages have another driver")
    run = _opened(session, state)
    ledger = run.ledger()
    latest = {e.trajectory: e for e in deciding(ledger, decision_rule(state))}
    calibration = run.calibrations().energy
    stage = state.posterior.spec.trajectories.stages[0]
    relaxed = []
    with one_thread():
        predictor = run.predictor()
        for trajectory in state.trajectories:
            atoms = _atoms(run, trajectory.md_state)
            found = predictor.predict(atoms, stress=False)
            label = _label(run, latest.get(trajectory.index), trajectory.md_step)
            relaxed.append(
                RelaxedDoc(
                    structure=to_structure(atoms),
                    predicted_energy=found.energy - run.offset,
                    predicted_std=calibration.scale_factor * found.energy_std,
                    energy=None if label is None else label.energy,
                    largest_force=None if label is None else label_force(label, stage),
                    forces=None if label is None else np.array(label.forces).tolist(),
                    stress=None if label is None or label.stress is None
                    else np.array(label.stress).tolist(),
                    n_steps=trajectory.md_step,
                )
            )  # fmt: skip
    first = relaxed[0]
    return from_any_structure(
        RelaxationDoc,
        first.structure,
        **_common(state, ledger),
        structure=first.structure,
        energy=first.energy,
        cell=stage.cell,
        relaxed=relaxed,
    )


def barrier_document(session: Session, state: RunState) -> BarrierDoc:
    """Return path and barriers of a run that has ended.

    Raises
    ------
    ValueError
        If the run looks for no path, or has no label.
    """
    if not on_path(state):
        raise ValueError(f"run {state.run_id} looks for no path: its stage has another driver")
    run = _opened(session, state)
    ledger = run.ledger()
    images = [_atoms(run, t.md_state) for t in state.trajectories]
    labels = [
        _label(run, _entry(ledger.entries, t.index, t.md_step), t.md_step)
        for t in state.trajectories
    ]
    calibration, last = run.calibrations().energy, len(images) - 1
    factor = calibration.scale_factor
    with one_thread():
        predictor = run.predictor()
        mean, std = energy_differences(predictor, images, 0)
        saddle = 1 + int(np.argmax(mean[1:-1]))
        if (decided := saddle_of(ledger, decision_rule(state))) is not None:
            saddle = decided.trajectory
        back, back_std = energy_differences(predictor, images, last)

    def value(predicted: float, deviation: float, end: int) -> BarrierValue:
        above, below = labels[saddle], labels[end]
        return BarrierValue(
            labelled=None if above is None or below is None else above.energy - below.energy,
            predicted=predicted,
            std=factor * deviation,
            interval=calibration.interval(deviation),
        )

    lengths, zero, top = path_lengths(images), labels[0], labels[saddle]
    return from_any_structure(
        BarrierDoc,
        to_structure(images[0]),
        **_common(state, ledger),
        forward=value(mean[saddle], std[saddle], 0),
        backward=value(back[saddle], back_std[saddle], last),
        saddle=saddle,
        saddle_force=None if top is None else largest_force(np.array(top.forces)),
        images=[
            ImageDoc(
                length=float(lengths[k]),
                predicted=float(mean[k]),
                std=factor * float(std[k]),
                labelled=None
                if (own := labels[k]) is None or zero is None
                else own.energy - zero.energy,
                structure=to_structure(image),
            )
            for k, image in enumerate(images)
        ],
    )


def _opened(session: Session, state: RunState) -> OpenRun:
    if state.posterior.ensemble is None or state.posterior.energy_offset is None:
        raise ValueError(f"run {state.run_id} has no result: its first label is missing")
    return session.open(state.posterior)


def _atoms(run: OpenRun, ref: Any) -> Atoms:
    return MDState.from_arrays(run.workspace.load_md_state(ref)).to_atoms()


def _entry(entries: tuple[LedgerEntry, ...], trajectory: int, step: int) -> LedgerEntry | None:
    """Return the last label of a configuration; the first labels lie before the run."""
    found = [
        e
        for e in entries
        if e.trajectory == trajectory and e.step == step and e.reason in ("deciding", "uncertain")
    ]
    return found[-1] if found else None


def _label(run: OpenRun, entry: LedgerEntry | None, step: int) -> LabelDoc | None:
    """Return the label of a trajectory's present configuration, or None."""
    if entry is None or entry.label is None or entry.step != step:
        return None
    return run.session.labels.get(entry.label)


def _common(state: RunState, ledger: Ledger) -> dict[str, Any]:
    posterior = state.posterior
    verdict = judge_run(state, ledger)
    # a label that is judged again after learning was paid for once
    paid = {e.label for e in ledger.entries if e.label is not None and e.reason != "seed"}
    return {
        "run_id": state.run_id,
        "model_id": posterior.model_id,
        "state": verdict.state,
        "sentence": verdict.sentence,
        "stop_reason": posterior.stop_reason or "unknown",
        "foundation_model": posterior.spec.foundation.source,
        "labeller": posterior.labeller,
        "threshold_ev": posterior.threshold_ev,
        "fmax": posterior.spec.trajectories.stages[0].resolved_fmax,
        "n_labels": len(paid),
        "n_waits": posterior.n_waits,
        "n_steps": state.md_step,
        "cpu_seconds": state.cpu_seconds,
    }
