"""ASE's optimizers, the variables that make their state complete, and when they are done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.bfgs import BFGSMethod
from ase.optimize.optimize import Optimizer

from onfly.dynamics.stages import MDStage
from onfly.units import KBAR

__all__ = ["build_optimizer", "capture", "curvature", "largest_force", "movable", "restore"]

# Å; ASE's default, halved each time the relaxation had to go back
LONGEST_STEP = 0.2

_CLASSES: dict[str, type[Optimizer]] = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}


def largest_force(
    forces: np.ndarray,
    stress: np.ndarray | None = None,
    volume: float | None = None,
    pressure: float | None = None,
) -> float:
    """Return the largest force on an atom, and on the cell where that is relaxed.

    The force on the cell is a row of V (σ + p) / N, which is how ASE's `FrechetCellFilter` weighs
    it: per atom, in eV, compared with forces in eV/Å.

    Parameters
    ----------
    forces
        Shape (N, 3), in eV/Å.
    stress
        Shape (3, 3), in eV/Å³, tension positive; None where the cell is fixed.
    volume
        Å³; needed with `stress`.
    pressure
        kbar.
    """
    largest = float(np.linalg.norm(forces, axis=1).max())
    if stress is None:
        return largest
    if volume is None:
        raise ValueError("the force on a cell needs its volume")
    on_cell = volume * (stress + (pressure or 0.0) * KBAR * np.eye(3)) / len(forces)
    return max(largest, float(np.linalg.norm(on_cell, axis=1).max()))


def movable(atoms: Atoms, stage: MDStage, cell: np.ndarray) -> Atoms | FrechetCellFilter:
    """Return what the optimizer moves: the atoms, or atoms and cell.

    Parameters
    ----------
    atoms
        With calculator.
    stage
        Says whether the cell moves.
    cell
        Shape (3, 3), in Å: the cell that deformations are counted from.
    """
    if not stage.cell:
        return atoms
    found = FrechetCellFilter(atoms, scalar_pressure=(stage.pressure or 0.0) * KBAR)
    found.orig_cell = cell
    return found


def build_optimizer(target: Any, stage: MDStage, n_returns: int = 0) -> Optimizer:
    """Build the optimizer of a stage.

    Parameters
    ----------
    target
        Atoms, a filter around them, or a band of images.
    stage
        Names the optimizer.
    n_returns
        How often the relaxation had to go back: each time its steps become shorter by half.
    """
    cls: Any = _CLASSES[stage.resolved_optimizer]
    return cls(target, logfile=None, maxstep=LONGEST_STEP * 0.5**n_returns)


def capture(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """Return the optimizer's own variables as arrays; empty before its first step."""
    found: Any = optimizer
    if isinstance(optimizer, BFGS):
        if found.state is None:
            return {}
        return {
            "hessian": np.array(found.state.hessian),
            "last_positions": np.array(found.pos0),
            "last_forces": np.array(found.forces0),
        }
    if isinstance(optimizer, LBFGS):
        if found.r0 is None:
            return {}
        method = found.state
        n = len(found.r0)
        return {
            "steps": np.array(method.s, dtype=float).reshape(-1, n),
            "changes": np.array(method.y, dtype=float).reshape(-1, n),
            "curvatures": np.array(method.rho, dtype=float),
            "iteration": np.array(method.iteration),
            "last_positions": np.array(found.r0),
            "last_forces": np.array(found.f0),
        }
    if found.vel is None:
        return {}
    return {
        "velocities": np.array(found.vel),
        "dt": np.array(found.dt),
        "mixing": np.array(found.a),
        "n_downhill": np.array(found.Nsteps),
    }


def curvature(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what an optimizer may keep when the forces change by a little: its Hessian.

    The difference between forces of two models says nothing of the curvature, so that the last
    positions and forces are dropped.
    """
    return {name: value for name, value in variables.items() if name == "hessian"}


def restore(optimizer: Optimizer, variables: Mapping[str, np.ndarray]) -> None:
    """Set the optimizer's own variables; without them it starts afresh."""
    found: Any = optimizer
    if "hessian" in variables:
        found.state = BFGSMethod(variables["hessian"].copy())
        # without a pair, the present positions stand for it: ASE's update then changes nothing
        present = found.optimizable.get_x()
        found.pos0 = variables.get("last_positions", present).copy()
        found.forces0 = variables.get("last_forces", np.zeros_like(present)).copy()
    elif "iteration" in variables:
        method = found.state
        method.s = [row.copy() for row in variables["steps"]]
        method.y = [row.copy() for row in variables["changes"]]
        method.rho = [float(value) for value in variables["curvatures"]]
        method.iteration = int(variables["iteration"])
        found.r0 = variables["last_positions"].copy()
        found.f0 = variables["last_forces"].copy()
    elif "velocities" in variables:
        found.vel = variables["velocities"].copy()
        found.dt, found.a = float(variables["dt"]), float(variables["mixing"])
        found.Nsteps = int(variables["n_downhill"])
