"""Keywords of ASE's integrators, tried on the first structure before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from onfly.dynamics.integrators import build_dynamics
from onfly.dynamics.stages import MDStage, default_time_step

__all__ = ["stage_problems"]

# arguments of the integrators that are ours -> the setting that gives them
_OURS = {
    "atoms": "the structure",
    "timestep": "`time_step`",
    "dt": "`time_step`",
    "temperature": "`temperature`",
    "temperature_K": "`temperature`",
    "pressure": "`pressure`",
    "pressure_au": "`pressure`",
    "rng": "`seed`",
    "trajectory": "`traj_interval`",
    "logfile": "the run's own log",
    "loginterval": "the run's own log",
    "append_trajectory": "`traj_interval`",
    "communicator": "the run itself",
    "comm": "the run itself",
}


def stage_problems(
    stages: Sequence[MDStage], atoms: Atoms, time_step: float | None = None
) -> list[str]:
    """Return what is wrong with the ``ase_md_kwargs`` of stages, one sentence each.

    The integrators are built, and no step is taken. Stages of other drivers are not looked at.

    Parameters
    ----------
    stages
        The programme.
    atoms
        What moves.
    time_step
        For stages without one of their own, in fs; None takes the default.
    """
    problems: list[str] = []
    for number, stage in enumerate(stages):
        if stage.driver == "md" and stage.ase_md_kwargs:
            dt = stage.time_step or time_step or default_time_step(atoms.get_chemical_symbols())
            found = _values(stage) or _built(stage, atoms, dt)
            problems += [f"stages.{number}.ase_md_kwargs: {problem}" for problem in found]
    return problems


def _values(stage: MDStage) -> list[str]:
    problems = []
    for key, value in stage.ase_md_kwargs.items():
        if key in _OURS:
            problems.append(f"{key} is set by {_OURS[key]}: leave it out")
        elif value is not None and not _is_usable(value):
            problems.append(f"{key} is {value!r}: give a finite number that is not negative")
    return problems


def _is_usable(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_usable(item) for item in value)
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _built(stage: MDStage, atoms: Atoms, time_step: float) -> list[str]:
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    # a thermostat without time or coupling divides by zero at its first step
    for key in ("taut", "taup", "tdamp", "pdamp", "compressibility_au"):
        value = stage.ase_md_kwargs.get(key)
        if isinstance(value, int | float) and not value > 0:
            return [f"{key} is {value!r}: it must be positive"]
    try:
        build_dynamics(plain, stage, time_step, stage.temperature_at(0), np.random.default_rng(0))
    except Exception as error:  # ASE's classes raise whatever they like
        return [str(error)]
    return []
