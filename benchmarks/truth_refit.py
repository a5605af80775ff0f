"""What a refit on all labels would gain: the audits of a proof are labels that nobody learned.

The weights that a closing block has proven were fitted before its labels came. Here they are fitted
once more with these labels, and both are held against the truth on the steps of the block that
were not labelled.
"""

from __future__ import annotations

import time
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from truth_runs import Teacher

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
    ledger = run.ledger()
    frames = _unlabelled(state, workspace)
    if not frames or state.posterior.ensemble is None:
        return {}
    doc = state.posterior.ensemble
    start = time.process_time()
    with one_thread():
        proven = workspace.load_ensemble(doc, run.device)
        refitted, _ = run.posterior.update(
            proven,
            run.target_factory(run.labels(ledger)),
            seed_key=run.key,
            generation=doc.generation + 1,
            n_new=sum(entry.label is not None for entry in ledger.unlearned),
        )
        seconds = time.process_time() - start
        truth, _ = teacher.truth(frames)
        found: dict[str, Any] = {"refit_frames": len(frames), "refit_cpu_s": seconds}
        for name, samples in (("proven", proven), ("refit", refitted)):
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
    origins = {t.index: t.origin for t in state.trajectories}
    found = []
    for trajectory in workspace.trajectory_folders():
        for path in trajectory.trajectory_files():
            if not path.stat().st_size:
                continue
            for atoms in ase.io.read(path, ":", format="extxyz"):
                step = int(atoms.info["step"])
                inside = step > origins[trajectory.index] and step % EVERY == 0
                if inside and (trajectory.index, step) not in audited:
                    found.append(
                        Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
                    )
    return found
