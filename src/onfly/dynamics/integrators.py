"""ASE's integrators, and the variables that make their state complete."""

from __future__ import annotations

from typing import Any

import ase.units
import numpy as np
from ase import Atoms
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import MTKNPT, NoseHooverChainNVT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.nvtberendsen import NVTBerendsen
from ase.md.verlet import VelocityVerlet

from onfly.dynamics.stages import MDStage
from onfly.units import KBAR

__all__ = ["build_dynamics", "capture", "restore"]

# Positions and momenta are kept by the Atoms object; these are the rest. Values that ASE derives
# anew from the Atoms object when an integrator is built are not listed.
_VARIABLES: dict[type, tuple[str, ...]] = {
    VelocityVerlet: (),
    Langevin: (),
    NVTBerendsen: (),
    NPTBerendsen: (),
    Bussi: ("transferred_energy",),
    NoseHooverChainNVT: ("_thermostat._eta", "_thermostat._p_eta"),
    MTKNPT: (
        "_p_g",
        "_thermostat._eta",
        "_thermostat._p_eta",
        "_barostat._xi",
        "_barostat._p_xi",
    ),
}
# Langevin friction of VASP and atomate2, 10 ps^-1
_FRICTION = 10e-3 / ase.units.fs
# Compressibility that Berendsen's barostat assumes, of water, as in atomate2 (1/bar)
_COMPRESSIBILITY = 4.57e-5


def build_dynamics(
    atoms: Atoms, stage: MDStage, time_step: float, temperature: float | None, rng: Any
) -> MolecularDynamics:
    """Build the ASE integrator of a stage.

    Parameters
    ----------
    atoms
        With momenta and calculator.
    stage
        Ensemble, dynamics, pressure and further keywords.
    time_step
        fs.
    temperature
        Target in K; None only for NVE.
    rng
        numpy Generator for the stochastic thermostats.
    """
    dt = time_step * ase.units.fs
    extra = dict(stage.ase_md_kwargs)
    key = (stage.ensemble, stage.resolved_dynamics)
    if key == ("nve", "velocityverlet"):
        return VelocityVerlet(atoms, dt, **extra)
    target = {"temperature_K": temperature}
    if key == ("nvt", "langevin"):
        options = {"friction": _FRICTION, "fixcm": False, **target, **extra}
        return Langevin(atoms, dt, rng=rng, **options)
    if key == ("nvt", "bussi"):
        return Bussi(atoms, dt, rng=rng, **{"taut": 100 * dt, **target, **extra})
    if key == ("nvt", "berendsen"):
        return NVTBerendsen(atoms, dt, **{"taut": 100 * dt, "fixcm": False, **target, **extra})
    if key == ("nvt", "nose-hoover-chain"):
        return NoseHooverChainNVT(atoms, dt, **{"tdamp": 100 * dt, **target, **extra})
    pressure = {"pressure_au": (stage.pressure or 0.0) * KBAR}
    if key == ("npt", "berendsen"):
        options = {
            "taut": 100 * dt,
            "taup": 1000 * dt,
            "compressibility_au": _COMPRESSIBILITY / ase.units.bar,
            "fixcm": False,
            **target,
            **pressure,
            **extra,
        }
        return NPTBerendsen(atoms, dt, **options)
    options = {"tdamp": 100 * dt, "pdamp": 1000 * dt, **target, **pressure, **extra}
    return MTKNPT(atoms, dt, **options)


def _parent(dynamics: MolecularDynamics, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    target: Any = dynamics
    for part in parents:
        target = getattr(target, part)
    return target, name


def capture(dynamics: MolecularDynamics) -> dict[str, np.ndarray]:
    """Return the integrator's own variables as arrays."""
    values = {}
    for path in _VARIABLES[type(dynamics)]:
        target, name = _parent(dynamics, path)
        values[path] = np.array(getattr(target, name), dtype=float)
    return values


def restore(dynamics: MolecularDynamics, variables: dict[str, np.ndarray]) -> None:
    """Set the integrator's own variables; an empty dictionary leaves it freshly started."""
    for path, value in variables.items():
        target, name = _parent(dynamics, path)
        setattr(target, name, value.copy() if value.ndim else float(value))
