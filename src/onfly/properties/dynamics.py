"""Structure and diffusion in MD: radial distribution function and diffusion coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from onfly.analysis.msd import CM2_S_PER_A2_FS, mean_squared_displacement, unwrap
from onfly.analysis.rdf import radial_distribution
from onfly.properties.measured import Measured, Scale, check_positive
from onfly.properties.relax import supercell_size
from onfly.seeds import numpy_stream

__all__ = ["Dynamics", "observables"]

R_MAX, N_BINS = 6.0, 120
# share of the longest lag between which the slope of the MSD is taken
FIT = (0.2, 0.6)


def observables(frames: Sequence[Atoms], interval_fs: float) -> Measured:
    """Return what a trajectory says of structure and diffusion.

    Parameters
    ----------
    frames
        At equilibrium, all of one size; periodic. Those of a production run by
        `onfly.analysis.trajectory.read_trajectory`.
    interval_fs
        Time between two of them.

    Returns
    -------
    Measured
        Place (Å) and height of the first peak of g(r) over all atoms; for each element the
        diffusion coefficient ``D Na`` (cm²/s) from the slope of the MSD; g(r) and r as curves.

    Raises
    ------
    ValueError
        If there are fewer than 20 frames.

    Examples
    --------
    >>> from ase.build import bulk
    >>> crystal = bulk("Cu", cubic=True) * 2
    >>> frames = []
    >>> for seed in range(30):
    ...     frames.append(crystal.copy())
    ...     frames[-1].rattle(0.05, seed=seed)
    >>> sorted(observables(frames, interval_fs=20.0).values)
    ['D Cu', 'g(r) first peak', 'g(r) height']
    """
    if len(frames) < 20:
        raise ValueError(f"{len(frames)} frames are too few for a diffusion coefficient: need 20")
    rdf = radial_distribution(frames, r_max=R_MAX, n_bins=N_BINS)
    # the first peak, not the highest: shells further out may be sharper in a cold crystal
    smooth = np.convolve(rdf.g, [0.25, 0.5, 0.25], mode="same")
    above = np.flatnonzero(smooth > 0.5 * smooth.max())
    start = above[0]
    end = next((i for i in range(start, N_BINS - 1) if smooth[i + 1] < smooth[i]), N_BINS - 1)
    place = slice(max(end - 2, 0), end + 3)
    weights = smooth[place]
    values = {
        "g(r) first peak": float(np.average(rdf.r[place], weights=weights)),
        "g(r) height": float(smooth[end]),
    }
    positions = unwrap(frames, remove_drift=True)
    symbols = np.array(frames[0].get_chemical_symbols())
    lag = len(frames) // 2
    low, high = max(1, int(FIT[0] * lag)), max(3, int(FIT[1] * lag))
    times = np.arange(lag + 1) * interval_fs
    for element in sorted(set(symbols)):
        msd = mean_squared_displacement(positions[:, symbols == element], max_lag=lag)
        slope = np.polyfit(times[low:high], msd[low:high], 1)[0]
        values[f"D {element}"] = float(slope / 6.0 * CM2_S_PER_A2_FS)
    return Measured(values, {"r": rdf.r, "g": rdf.g})


@dataclass(frozen=True)
class Dynamics:
    """MD at constant volume and temperature (Langevin), started from the relaxed crystal.

    Every force field gets the same random numbers. The spread of the draws contains the noise of
    the sampling, which the calibration then widens too.

    Parameters
    ----------
    temperature
        K.
    n_steps
        After an equilibration of a quarter of them.
    time_step
        fs.
    interval
        Steps between frames.
    min_length
        Shortest vector of the supercell, Å.
    seed
        Of the random stream.

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    >>> Dynamics(temperature=600.0, n_steps=5000).time_step
    2.0
    """

    temperature: float = 300.0
    n_steps: int = 1000
    time_step: float = 2.0
    interval: int = 10
    min_length: float = 8.0
    seed: int = 0

    kind: ClassVar[str] = "md"
    scale: ClassVar[Scale] = "forces"

    def __post_init__(self) -> None:
        check_positive(self, "temperature", "n_steps", "time_step", "interval", "min_length")

    def unit(self, name: str) -> str:
        """Return the unit of a value."""
        if name.startswith("D "):
            return "cm²/s"
        return "Å" if name.endswith("peak") else ""

    def measure(self, calculator: Calculator, cell: Atoms) -> Measured:
        """Return `observables` of the MD.

        Raises
        ------
        RuntimeError
            If the MD explodes.
        """
        atoms = cell.repeat(supercell_size(cell, self.min_length))
        atoms.calc = calculator
        stream = numpy_stream("properties", "md", self.seed)
        MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature, rng=stream)
        Stationary(atoms)
        frames: list[Atoms] = []
        driver = Langevin(
            atoms,
            self.time_step * units.fs,
            temperature_K=self.temperature,
            friction=0.01 / units.fs,
            rng=stream,
        )
        driver.run(self.n_steps // 4)
        driver.attach(lambda: frames.append(_snapshot(atoms)), interval=self.interval)
        driver.run(self.n_steps)
        kelvin = atoms.get_temperature()
        if not math.isfinite(kelvin) or kelvin > 5.0 * self.temperature + 500.0:
            raise RuntimeError(f"the MD exploded: its temperature is {kelvin:.0f} K")
        return observables(frames, self.interval * self.time_step)


def _snapshot(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions.copy(), cell=atoms.cell.array, pbc=True)
