"""What a refit on all labels gains.

The weights that a closing block has proven were fitted before its labels came, and the run then
fits them once more with these labels. Both are held against the truth on the steps of the block
that were not labelled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from truth_runs import Teacher, bare, block_frames

from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.predictor import Predictor
from onfly.potentials.execution import one_thread
from onfly.schemas import RunState
from onfly.session import Session
from onfly.settings import OnflySettings

__all__ = ["refit_figures"]

EVERY = 3  # of the steps of the block


def refit_figures(state: RunState, workspace: RunWorkspace, teacher: Teacher) -> dict[str, Any]:
    """Return RMS errors (meV) and coverages of both on unlabelled steps of the closing block.

    Parameters
    ----------
    state
        Of a run whose last closing block passed.
    workspace
        Its folder.
    teacher
        Tells the truth.
    """
    session = Session(OnflySettings(ARTIFACT_DIR=workspace.folder.parent.parent))
    run = session.open(state.posterior)
    frames = _unlabelled(state, workspace)
    doc, refit = state.posterior.ensemble, state.posterior.refit
    if not frames or doc is None or refit is None:
        return {}
    with one_thread():
        truth, _ = teacher.truth(frames)
        found: dict[str, Any] = {"refit_frames": len(frames)}
        for name, weights in (("proven", doc), ("refit", refit)):
            samples = workspace.load_ensemble(weights, run.device)
            predictor = Predictor(run.potential, run.posterior, samples, run.scales, doc.strategy)
            energies = [predictor.predict(atoms, stress=False).energy for atoms in frames]
            errors = np.array(energies) - run.offset - truth
            found[f"{name}_rms_mev"] = float(1000 * np.sqrt(np.mean(errors**2)))
            threshold = state.posterior.threshold_ev or np.inf
            found[f"{name}_true"] = float(np.mean(np.abs(errors) <= threshold))
    return found


def _unlabelled(state: RunState, workspace: RunWorkspace) -> list[Atoms]:
    """Return every third configuration of the closing block that was not labelled."""
    audited = {(t.index, s) for t in state.trajectories for look in t.closing_steps for s in look}
    return [
        bare(atoms)
        for index, atoms in block_frames(state, workspace)
        if (step := int(atoms.info["step"])) % EVERY == 0 and (index, step) not in audited
    ]
