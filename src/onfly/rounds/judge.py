"""Labels have come, or have failed to come: check them, write them, and judge what was predicted.

A label is written to the store before anything else happens with it. Its error is that of the
prediction made before it is learned.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.bayes.calibration import Calibration
from onfly.dynamics.criteria import Calibrations
from onfly.dynamics.state import MDState
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.failed import kept_label
from onfly.labels.validate import validate_label
from onfly.proof import Ledger, LedgerEntry
from onfly.rounds.criteria import error_ratios
from onfly.rounds.decisions import deciding_errors
from onfly.rounds.requests import FORCES_STD, STRESS_STD
from onfly.rounds.rewind import gone_back, rewound
from onfly.rounds.seeds import seeded
from onfly.schemas import (
    LabelDoc,
    PlaceDoc,
    RequestDoc,
    RunState,
    SuppliedRef,
    to_atoms,
    to_structure,
)
from onfly.session import OpenRun, Session, calibration_docs

__all__ = ["Answer", "judge_round", "requested_structure"]

logger = logging.getLogger(__name__)

# a label is tried again once, with a more careful SCF
MAX_ATTEMPTS = 2
_KEPT_FAILURES = 10


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Parameters
    ----------
    output
        Task document of the labeller, a `LabelDoc` that was found again, or None if it failed.
    error
        Why it failed, if that is known.
    """

    output: Any = None
    error: str | None = None


def requested_structure(run: OpenRun, request: RequestDoc) -> Structure | Molecule:
    """Return the configuration that a request asks a label of."""
    asked = MDState.from_arrays(run.workspace.load_md_state(request.structure))
    return to_structure(asked.to_atoms())


def judge_round(session: Session, state: RunState, answers: Sequence[Answer]) -> RunState:
    """Take in what came of the labels that were due.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``label``.
    answers
        In the order of `RunState.due`.

    Returns
    -------
    RunState
        In phase ``judge``; or ``label`` again, for labels that failed and are tried more
        carefully.

    Raises
    ------
    LabelError
        If the first label of the run failed: there is nothing to go on from.
    """
    due = state.due
    if len(answers) != len(due):
        raise ValueError(f"{len(answers)} answers for {len(due)} requests")
    work = _Round(session, state)
    for request, answer in zip(due, answers, strict=True):
        work.take(request, answer)
    return work.finish()


class _Round:
    """The state of a run while its labels come in."""

    def __init__(self, session: Session, state: RunState) -> None:
        self.session, self.state = session, state
        self.run = session.open(state.posterior)
        self.ledger = self.run.ledger()
        self.n_entries = len(self.ledger.entries)
        self.force_errors: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.stress_errors: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.trajectories = {t.index: t for t in state.trajectories}
        self.places: dict[int, dict[int, PlaceDoc]] = {}
        self.failures: list[str] = []
        self.n_failed = 0
        self.first: LabelDoc | None = None
        self.changes: dict[str, Any] = {}

    def take(self, request: RequestDoc, answer: Answer) -> None:
        """Check, write and judge one label."""
        try:
            if answer.output is None:
                raise LabelError(answer.error or "the labeller gave no output")
            label = self._label(request, answer.output)
        except LabelError as problem:
            self._failed(request, str(problem))
            return
        key = self.session.labels.put(label)
        self.run.workspace.write_answer(request.key, {"label": key})
        if self.run.doc.energy_offset is None:
            self._set_scale(request, label)
        first = self.ledger.n_labels == 0
        self.ledger = self.ledger.append(self._entry(request, label, key))
        self._remove(request)
        if request.place is not None:
            self.places.setdefault(request.trajectory, {})[request.md_step] = request.place
        if first:
            self.ledger = seeded(self.session, self.run, self.ledger, label)
            self.changes["n_seeds"] = len(self.ledger.of("seed"))
        if request.is_call:
            owner = self.trajectories[request.trajectory]
            self.trajectories[owner.index] = owner.model_copy(
                update={
                    "supplied": SuppliedRef(
                        label=key, structure=request.structure, reason=request.reason
                    ),
                    "last_call_step": request.md_step,
                }
            )
        ahead = request.reason == "ahead"
        if request.trajectory in self.trajectories and request.md_step > 0 and not ahead:
            owner = self.trajectories[request.trajectory]
            last = max(owner.last_label_step, request.md_step)
            self.trajectories[owner.index] = owner.model_copy(update={"last_label_step": last})
        if request.reason == "initial":
            self._give_to_start(request, label)
        self.changes["last_label_dir"] = label.dir_name

    def _label(self, request: RequestDoc, output: Any) -> LabelDoc:
        labels = self.run.spec.labels
        requested = requested_structure(self.run, request)
        if isinstance(kept := kept_label(output), str):
            output = self.session.labels.get(kept)
        if isinstance(output, LabelDoc):
            label = output.model_copy(update={"structure": requested})
        else:
            label = extract_label(output, requested=requested, energy_key=labels.energy_key)
        validate_label(
            label,
            requested=requested,
            max_force=labels.max_force,
            max_net_force=labels.max_net_force,
            input_hash=self.run.doc.input_hash or None,
        )
        if label.stress is None:
            self._check_stress(label)
        return label

    def _check_stress(self, label: LabelDoc) -> None:
        """Refuse a label without stress where one is needed; NPT can go on with the model's."""
        labeller = label.labeller or "the labeller"
        if any(t.quantity == "stress" for t in self.run.spec.tolerance):
            raise LabelError(
                f"{labeller} gives no stress, which a tolerance of the stress needs: use a "
                "labeller with stress, or another tolerance"
            )
        moves = any(s.needs_stress for s in self.run.spec.trajectories.stages)
        if moves and self.run.doc.energy_offset is None:
            raise LabelError(
                f"{labeller} gives no stress, which MD at constant pressure needs, as a relaxation "
                "of the cell does: use a labeller with stress, an nvt stage, or a relaxation "
                "without the cell"
            )

    def _set_scale(self, request: RequestDoc, label: LabelDoc) -> None:
        """Let the first label set the energy offset (paper, section on the offset)."""
        energy, _ = self.run.foundation_prediction(to_atoms(label.structure))
        offset = energy - label.energy
        logger.info("energy offset %.6f eV", offset)
        self.changes |= {
            "energy_offset": offset,
            "input_hash": label.input_hash,
            "labeller": self.run.doc.labeller or label.labeller,
        }
        self.state = self.state.evolve(**self.changes)
        self.run = self.session.open(self.state.posterior)

    def _give_to_start(self, request: RequestDoc, label: LabelDoc) -> None:
        """Let trajectories that start at a labelled configuration start with its forces."""
        workspace = self.run.workspace
        asked = MDState.from_arrays(workspace.load_md_state(request.structure))
        for index, trajectory in self.trajectories.items():
            start = MDState.from_arrays(workspace.load_md_state(trajectory.md_state))
            same = np.array_equal(start.positions, asked.positions)
            if trajectory.md_step == 0 and same and np.array_equal(start.cell, asked.cell):
                stress = None if label.stress is None else np.array(label.stress)
                at = start.with_results(
                    label.energy + self.run.offset, np.array(label.forces), stress
                )
                ref = workspace.save_md_state(at.to_arrays())
                self.trajectories[index] = trajectory.model_copy(update={"md_state": ref})

    def _entry(self, request: RequestDoc, label: LabelDoc, key: str) -> LedgerEntry:
        """Return what the ledger keeps of a label."""
        doc, forces = self.run.doc, np.array(label.forces)
        energy, foundation_forces = self.run.foundation_prediction(to_atoms(label.structure))
        fields: dict[str, Any] = {
            "foundation_error": energy - self.run.offset - label.energy,
            "foundation_force_rmse": _rmse(foundation_forces - forces),
        }
        if request.predicted_energy is not None and doc.ensemble is not None:
            arrays = self.run.workspace.load_md_state(request.structure)
            error = request.predicted_energy - label.energy
            force_errors = arrays["forces"] - forces
            if FORCES_STD in arrays and (arrays[FORCES_STD] > 0).all():
                self.force_errors[self.ledger.n_labels] = (
                    force_errors, arrays[FORCES_STD], arrays["numbers"],
                )  # fmt: skip
            stress_errors = None
            if label.stress is not None and "stress" in arrays:
                stress_errors = arrays["stress"] - np.array(label.stress)
                if STRESS_STD in arrays and (arrays[STRESS_STD] > 0).all():
                    self.stress_errors[self.ledger.n_labels] = (stress_errors, arrays[STRESS_STD])
            fields |= {
                "generation": doc.ensemble.generation,
                "mean": request.predicted_energy,
                "std": request.predicted_std,
                "probability": request.probability,
                "error": error,
                "errors": error_ratios(doc, error, force_errors, stress_errors),
                "force_rmse": _rmse(force_errors),
            }
        if request.reason == "closing":
            fields |= {"attempt": doc.attempt, "look": request.look}
        if request.reason == "deciding" and "errors" in fields:
            fields["errors"] |= deciding_errors(self.run, self.state, self.ledger, request, label)
        return LedgerEntry(
            index=self.ledger.n_labels,
            trajectory=request.trajectory,
            step=request.md_step,
            reason=request.reason,
            label=key,
            **fields,
        )

    def _remove(self, request: RequestDoc) -> None:
        for index, trajectory in self.trajectories.items():
            left = tuple(r for r in trajectory.requests if r.key != request.key)
            if len(left) < len(trajectory.requests):
                self.trajectories[index] = trajectory.model_copy(update={"requests": left})

    def _failed(self, request: RequestDoc, reason: str) -> None:
        message = f"label of trajectory {request.trajectory} at step {request.md_step}: {reason}"
        logger.warning(message)
        if request.reason == "initial" and self.run.doc.energy_offset is None:
            raise LabelError(f"the first label failed, so there is nothing to go on from: {reason}")
        self.failures.append(message)
        if request.attempt + 1 < MAX_ATTEMPTS:
            self._again(request)
            return
        self._remove(request)
        if request.reason == "closing":
            # a step that cannot be judged is a failure of the block, and none that stops the run
            self._append_unjudged(request.trajectory, request.md_step, request.look)
            return
        self.n_failed += 1
        if request.is_call and self.run.doc.attempt is None:
            owner = self.trajectories[request.trajectory]
            self.trajectories[owner.index] = rewound(owner, self.session, self.run.doc)

    def _again(self, request: RequestDoc) -> None:
        again = request.model_copy(update={"attempt": request.attempt + 1})
        for index, trajectory in self.trajectories.items():
            if any(r.key == request.key for r in trajectory.requests):
                requests = tuple(again if r.key == request.key else r for r in trajectory.requests)
                self.trajectories[index] = trajectory.model_copy(update={"requests": requests})

    def _append_unjudged(self, trajectory: int, step: int, look: int) -> None:
        doc = self.run.doc
        assert doc.ensemble is not None
        entry = LedgerEntry(
            index=self.ledger.n_labels,
            trajectory=trajectory,
            step=step,
            reason="closing",
            generation=doc.ensemble.generation,
            label=None,
            attempt=doc.attempt,
            look=look,
        )
        self.ledger = self.ledger.append(entry)

    def _unreached(self) -> None:
        """Count the drawn steps that a trajectory did not reach as failures."""
        doc = self.run.doc
        if doc.attempt is None:
            return
        known = {(e.trajectory, e.step) for e in self.ledger.closing(doc.attempt)}
        for trajectory in self.trajectories.values():
            if trajectory.md_step >= trajectory.n_steps:
                continue
            for step in trajectory.closing_steps[doc.look]:
                if step > trajectory.md_step and (trajectory.index, step) not in known:
                    self._append_unjudged(trajectory.index, step, doc.look)

    def finish(self) -> RunState:
        """Return the state after the round's labels, and write the ledger."""
        state = self.state.with_trajectories(self.trajectories.values())
        posterior = state.posterior
        again = [r for r in state.due if r.attempt]
        if not again and self._goes_back():
            state = state.with_trajectories(
                gone_back(self.run, t, self.ledger, self.places.get(t.index, {}))
                for t in state.trajectories
            )
        if not again:
            self._unreached()
        counted = _counts(self.ledger)
        calibrations = self._calibrated()
        n_records = self.run.workspace.write_ledger(self.ledger)
        return state.evolve(
            **self.changes,
            **counted,
            **calibration_docs(calibrations),
            phase="label" if again else "judge",
            n_records=n_records,
            n_failures=posterior.n_failures + self.n_failed,
            failures=(*posterior.failures, *self.failures)[-_KEPT_FAILURES:],
        )

    def _goes_back(self) -> bool:
        """Whether the MD may: not in a closing block, a search or production."""
        doc = self.run.doc
        searches = doc.spec.trajectories.stages[0].searches
        return doc.attempt is None and doc.production is None and not searches

    def _calibrated(self) -> Calibrations:
        """Return the calibrations after the errors of this round, in the order of the ledger.

        The energies of a closing block count once it is decided: see `onfly.rounds.close`.
        """
        found = self.run.calibrations()
        for entry in self.ledger.entries[self.n_entries :]:
            if entry.reason != "closing":
                found = replace(found, energy=calibrated(found.energy, entry))
            if entry.index in self.force_errors:
                found = replace(found, forces=found.forces.update(*self.force_errors[entry.index]))
            if entry.index in self.stress_errors:
                found = replace(found, stress=found.stress.update(*self.stress_errors[entry.index]))
        return found


def calibrated(calibration: Calibration, entry: LedgerEntry) -> Calibration:
    """Return the calibration after the error of an entry, if it has one."""
    if entry.error is None or entry.std is None:
        return calibration
    return calibration.update(entry.error, entry.std)


def _counts(ledger: Ledger) -> dict[str, int]:
    """Return the counters that the document shows; the ledger is what counts."""
    audits = [e for e in ledger.entries if e.reason in ("audit", "closing")]
    return {
        "n_labels": sum(e.label is not None for e in ledger.entries),
        "n_calls": len(ledger.of("uncertain", "guard", "warmup")),
        "n_audits": len(audits),
        "n_audits_within": sum(e.within() for e in audits),
    }


def _rmse(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))
