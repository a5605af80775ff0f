"""A label that is asked for: the configuration, and what the ensemble predicts for it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from ase import Atoms

from onfly.dynamics.criteria import Assessment
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.state import MDState
from onfly.rounds.criteria import criterion_of
from onfly.schemas import RequestDoc
from onfly.session import OpenRun

__all__ = ["FORCES_STD", "STRESS_STD", "assessed", "request_of"]

logger = logging.getLogger(__name__)

FORCES_STD, STRESS_STD = "forces_std", "stress_std"


def assessed(
    run: OpenRun, predictor: Predictor, at: MDState, *, watch_only: bool = False
) -> tuple[Atoms, StepPrediction, Assessment]:
    """Return a configuration, what is predicted for it, and what the criterion says of that.

    Parameters
    ----------
    run
        With criterion and calibrations.
    predictor
        Of the run.
    at
        The configuration.
    watch_only
        Whether the criterion never fires.
    """
    atoms = at.to_atoms()
    stress = bool(atoms.pbc.all()) and run.potential.supports_stress
    found = predictor.predict(atoms, stress=stress, forces_std=True)
    criterion = criterion_of(run.doc, at.numbers, watch_only=watch_only)
    return atoms, found, criterion.assess(found, run.calibrations())


def request_of(
    run: OpenRun,
    trajectory: int,
    reason: Any,
    step: int,
    atoms: Atoms,
    prediction: StepPrediction,
    assessment: Assessment,
    detail: str | None = None,
) -> RequestDoc:
    """Write a configuration and what is predicted for it, and return the request of its label.

    Parameters
    ----------
    run
        Whose ensemble predicted.
    trajectory, step
        Where the configuration lies.
    reason
        Why a label is asked for.
    atoms
        The configuration.
    prediction, assessment
        Of the configuration, by the ensemble and by the criterion.
    detail
        What a guard found.
    """
    logger.info(
        "trajectory %d, step %d: label asked for (%s, P = %.3f)",
        trajectory,
        step,
        reason,
        assessment.probability,
    )
    asked = MDState(
        numbers=atoms.numbers,
        pbc=atoms.pbc,
        positions=atoms.positions,
        momenta=np.zeros_like(atoms.positions),
        cell=atoms.cell.array,
        step=step,
        energy=prediction.energy,
        forces=prediction.forces,
        stress=prediction.stress,
        source="model",
    )
    # beside the forces and the stress that were predicted: their errors are judged by it
    found = {FORCES_STD: prediction.forces_std, STRESS_STD: prediction.stress_std}
    spread = {name: std for name, std in found.items() if std is not None}
    return RequestDoc(
        reason=reason,
        trajectory=trajectory,
        md_step=step,
        structure=run.workspace.save_md_state(asked.to_arrays() | spread),
        predicted_energy=prediction.energy - run.offset,
        predicted_std=prediction.energy_std,
        probability=assessment.probability,
        quantity=assessment.quantity,
        detail=detail,
    )
