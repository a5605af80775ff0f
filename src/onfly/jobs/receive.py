"""A label has come, or has failed to come."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import Maker

from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.state import MDState
from onfly.jobs.base import otf_job
from onfly.jobs.context import RunContext, evolve, open_run, to_atoms, to_structure
from onfly.jobs.known_labels import share_label
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.validate import validate_label
from onfly.schemas import LabelDoc, RunDoc

__all__ = ["ExtractMaker", "pending_structure", "receive_label"]

logger = logging.getLogger(__name__)

# a label is tried again once, with a more careful SCF, before the MD is rewound
MAX_ATTEMPTS = 2


def pending_structure(run: RunDoc, workspace: RunWorkspace) -> Any:
    """Return the Structure or Molecule that the run waits for."""
    if run.pending is None:
        raise ValueError(f"run {run.run_id} waits for no label")
    asked = MDState.from_arrays(workspace.load_md_state(run.pending.structure))
    return to_structure(asked.to_atoms())


def receive_label(
    run: RunDoc,
    output: Any,
    *,
    error: str | None = None,
) -> RunDoc:
    """Take in the output of the labeller: check it, write it, and only then go on.

    Parameters
    ----------
    run
        In phase ``label``.
    output
        Task document of the labeller, a `LabelDoc` that was found again, or None if it failed.
    error
        Why it failed, if that is known.

    Returns
    -------
    RunDoc
        In phase ``calibrate``; or, after a failure, ``label`` (once more, more carefully),
        ``segment`` (rewound, with other velocities) or ``publish``.
    """
    context = open_run(run)
    try:
        if output is None:
            raise LabelError(error or "the labeller gave no output")
        label = _label(context, output)
    except LabelError as problem:
        return _failed(context, str(problem))
    context.workspace.append_label(label)
    share_label(run, label)
    pending = run.pending
    assert pending is not None
    called = pending.reason in ("uncertain", "guard", "warmup")
    return evolve(
        run,
        phase="calibrate",
        n_labels=pending.index + 1,
        n_interventions=run.n_interventions + int(called),
        last_label_step=pending.md_step,
        last_intervention_step=pending.md_step if called else run.last_intervention_step,
        last_label_dir=label.dir_name,
    )


def _label(context: RunContext, output: Any) -> LabelDoc:
    run, pending = context.run, context.run.pending
    requested = pending_structure(run, context.workspace)
    assert pending is not None
    asked = MDState.from_arrays(context.workspace.load_md_state(pending.structure))
    fields: dict[str, Any] = {
        "run_id": run.run_id,
        "index": pending.index,
        "reason": pending.reason,
        "md_step": pending.md_step,
        "predicted_energy": pending.predicted_energy,
        "predicted_std": pending.predicted_std,
        "probability": pending.probability,
    }
    if isinstance(output, LabelDoc):
        # what the run that paid for it predicted is not kept, who calculated it is
        own = {"structure": requested, "force_rmse": None}
        label = output.model_copy(update=fields | own)
    else:
        label = extract_label(output, requested=requested, energy_key=run.energy_key, **fields)
    validate_label(label, requested=requested, max_force=run.max_force, input_hash=run.input_hash)
    forces = np.array(label.forces)
    energy, foundation_forces = context.foundation_prediction(to_atoms(label.structure))
    label.foundation_energy = energy - context.offset
    label.foundation_force_rmse = _rmse(foundation_forces - forces)
    if pending.predicted_energy is not None:
        label.force_rmse = _rmse(asked.forces - forces)
    return label


def _rmse(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def _failed(context: RunContext, reason: str) -> RunDoc:
    run = context.run
    pending = run.pending
    if pending is None or run.md_state is None:
        raise LabelError(f"the first label failed, so there is nothing to go on from: {reason}")
    message = f"label {pending.index} at step {pending.md_step}: {reason}"
    logger.warning(message)
    failures = [*run.failures, message][-10:]
    attempt = pending.attempt + 1
    if attempt < MAX_ATTEMPTS:
        again = pending.model_copy(update={"attempt": attempt})
        return evolve(run, phase="label", pending=again, failures=failures)
    n_failures = run.n_failures + 1
    if n_failures >= run.max_failures:
        return evolve(
            run,
            phase="publish",
            pending=None,
            n_failures=n_failures,
            failures=failures,
            stop_reason=f"{n_failures} labels failed, the last one: {reason}",
        )
    state = MDState.from_arrays(context.workspace.load_md_state(run.md_state))
    rewound = state.rewound(max(state.temperature, 1.0), context.key)
    return evolve(
        run,
        phase="segment",
        pending=None,
        md_state=context.workspace.save_md_state(rewound.to_arrays()),
        n_failures=n_failures,
        failures=failures,
    )


@dataclass
class ExtractMaker(Maker):
    """Turn the labeller's task document into a label: checked, written, never lost.

    Parameters
    ----------
    name
        Name of the jobs.
    """

    name: str = "otf label"

    @otf_job(may_miss=True)
    def make(self, run: RunDoc | None, output: Any = None) -> RunDoc:
        """Return the run with its label, or with the failure counted."""
        if run is None:
            raise RuntimeError("the segment before this label failed: mend and rerun it first")
        if run.phase != "label":
            return run
        run = receive_label(run, output)
        open_run(run).workspace.write_run(run)
        return run
