"""The complete state of the molecular dynamics between two steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ase.units
import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation

from onfly.seeds import numpy_stream

__all__ = ["MDState", "draw_momenta"]

_SOURCES: tuple[Literal["model", "label"], ...] = ("model", "label")


@dataclass(frozen=True)
class MDState:
    """Positions, momenta, cell, thermostat and results at the present positions.

    The random numbers of a step are derived from (seed, epoch, step), so no generator state is
    kept; with the results and the integrator's variables the state is complete, and two joined
    segments are bit for bit one run.

    Parameters
    ----------
    numbers, pbc
        Atomic numbers, shape (N,), and periodicity, shape (3,).
    positions, momenta
        Shape (N, 3), in Å and in ASE's units.
    cell
        Shape (3, 3), in Å.
    step
        Steps since the start of the run, over all stages.
    energy, forces, stress
        Results at `positions` on the foundation model's energy scale: eV, (N, 3) eV/Å and
        (3, 3) eV/Å³ or None.
    source
        Whether these results come from the ensemble or from a label.
    integrator
        Variables of the thermostat and barostat by name.
    epoch
        Number of rewinds; after each the random stream is another one.
    screen
        The std of forces and stress that was computed last (see `onfly.dynamics.screen`).

    Examples
    --------
    >>> from ase.build import bulk
    >>> atoms = bulk("Cu", cubic=True)
    >>> state = MDState(atoms.numbers, atoms.pbc, atoms.positions,
    ...                 draw_momenta(atoms, 300, ("my run",)), atoms.cell.array, step=0, energy=0.0,
    ...                 forces=np.zeros((4, 3)), stress=None, source="label")
    >>> round(state.volume, 2), MDState.from_arrays(state.to_arrays()).step
    (47.05, 0)
    """

    numbers: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray
    step: int
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    source: Literal["model", "label"]
    integrator: dict[str, np.ndarray] = field(default_factory=dict)
    epoch: int = 0
    screen: dict[str, np.ndarray] = field(default_factory=dict)

    def to_atoms(self) -> Atoms:
        """Return a fresh Atoms object with positions, momenta, cell and periodicity."""
        return Atoms(
            numbers=self.numbers,
            positions=self.positions.copy(),
            momenta=self.momenta.copy(),
            cell=self.cell.copy(),
            pbc=self.pbc,
        )

    @property
    def temperature(self) -> float:
        """Instantaneous temperature in K, with 3N degrees of freedom as ASE counts them."""
        return self.kinetic_energy / (1.5 * len(self.numbers) * ase.units.kB)

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy in eV."""
        return float(self.to_atoms().get_kinetic_energy())

    @property
    def volume(self) -> float | None:
        """Cell volume in Å³, or None for a molecule."""
        return abs(float(np.linalg.det(self.cell))) if bool(self.pbc.all()) else None

    def with_results(self, energy: float, forces: np.ndarray, stress: np.ndarray | None) -> MDState:
        """Return the state with a label's results at the same positions."""
        return replace(self, energy=energy, forces=forces, stress=stress, source="label")

    def rewound(self, temperature: float, key: tuple[str | int, ...]) -> MDState:
        """Return the state with new velocities, on a new random stream, thermostat at rest."""
        epoch = self.epoch + 1
        atoms = self.to_atoms()
        momenta = draw_momenta(atoms, temperature, (*key, "rewind", epoch))
        return replace(self, momenta=momenta, epoch=epoch, integrator={}, screen={})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as named arrays, for a file without pickles."""
        arrays = {
            "numbers": np.asarray(self.numbers, dtype=np.int64),
            "pbc": np.asarray(self.pbc, dtype=np.int64),
            "positions": self.positions,
            "momenta": self.momenta,
            "cell": self.cell,
            "step": np.array(self.step, dtype=np.int64),
            "epoch": np.array(self.epoch, dtype=np.int64),
            "energy": np.array(self.energy, dtype=np.float64),
            "forces": self.forces,
            "source": np.array(_SOURCES.index(self.source), dtype=np.int64),
        }
        if self.stress is not None:
            arrays["stress"] = self.stress
        arrays |= {f"integrator.{k}": np.asarray(v) for k, v in self.integrator.items()}
        arrays |= {f"screen.{k}": np.asarray(v) for k, v in self.screen.items()}
        return {k: np.array(v, order="C") for k, v in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> MDState:
        """Inverse of `to_arrays`."""
        return cls(
            numbers=arrays["numbers"],
            pbc=arrays["pbc"].astype(bool),
            positions=arrays["positions"],
            momenta=arrays["momenta"],
            cell=arrays["cell"],
            step=int(arrays["step"]),
            epoch=int(arrays["epoch"]),
            energy=float(arrays["energy"]),
            forces=arrays["forces"],
            stress=arrays.get("stress"),
            source=_SOURCES[int(arrays["source"])],
            integrator=_named(arrays, "integrator."),
            screen=_named(arrays, "screen."),
        )


def _named(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def draw_momenta(atoms: Atoms, temperature: float, key: tuple[str | int, ...]) -> np.ndarray:
    """Draw Maxwell-Boltzmann momenta without net momentum (and, for molecules, rotation).

    Parameters
    ----------
    atoms
        They are not changed.
    temperature
        K.
    key
        Names the random stream: the same key gives the same momenta.

    Returns
    -------
    numpy.ndarray
        Momenta in ASE's units, shape (N, 3), exactly at the temperature where that is possible.

    Examples
    --------
    >>> from ase.build import bulk
    >>> momenta = draw_momenta(bulk("Cu", cubic=True), 300, ("my run", "velocities"))
    >>> momenta.shape, bool(abs(momenta.sum(axis=0)).max() < 1e-9)
    ((4, 3), True)
    """
    atoms = atoms.copy()
    rng = numpy_stream(*key)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    if len(atoms) > 1:
        Stationary(atoms)
        if not atoms.pbc.any() and len(atoms) > 2:
            ZeroRotation(atoms)
    return atoms.get_momenta()
