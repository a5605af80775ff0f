"""Mean squared displacement and diffusion coefficients with error bars.

1 Å²/fs is 0.1 cm²/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy import stats

__all__ = [
    "CM2_S_PER_A2_FS",
    "Diffusion",
    "diffusion_coefficient",
    "mean_squared_displacement",
    "unwrap",
]

CM2_S_PER_A2_FS: float = 0.1


def unwrap(frames: Sequence[Atoms], remove_drift: bool = False) -> np.ndarray:
    """Follow atoms through the periodic boundaries.

    Displacements from frame to frame are summed, each taken to the nearest image. This holds for
    changing cells too (von Bülow et al., JCP 153, 021101 (2020)), as long as no atom moves by half
    a cell between two frames.

    Parameters
    ----------
    frames
        Configurations of one trajectory, in the order of time.
    remove_drift
        Subtract the motion of the centre of mass.

    Returns
    -------
    numpy.ndarray
        Positions in Å, shape (n_frames, n_atoms, 3).

    Raises
    ------
    ValueError
        If there are no frames, or the number of atoms changes.

    Examples
    --------
    >>> from ase import Atoms
    >>> frames = [Atoms("He", [[x, 0, 0]], cell=[5, 5, 5], pbc=True) for x in (4.5, 0.1)]
    >>> unwrap(frames)[:, 0, 0].round(6)
    array([4.5, 5.1])
    """
    if not frames:
        raise ValueError("no frames given")
    positions = [frames[0].get_positions()]
    for previous, atoms in pairwise(frames):
        if len(atoms) != len(previous):
            raise ValueError("the number of atoms changes between frames")
        step = atoms.get_positions() - previous.get_positions()
        if atoms.pbc.any():
            step, _ = find_mic(step, atoms.cell, atoms.pbc)
        positions.append(positions[-1] + step)
    result = np.array(positions)
    if remove_drift:
        masses = frames[0].get_masses()
        centre = np.einsum("tax,a->tx", result, masses) / masses.sum()
        result -= (centre - centre[0])[:, None, :]
    return result


def mean_squared_displacement(positions: np.ndarray, max_lag: int | None = None) -> np.ndarray:
    """Mean squared displacement over all time origins and atoms.

    Uses the Fourier form of the windowed average, O(n log n) (Calandrini et al., Collection SFN
    12, 201 (2011), sec. 4.2).

    Parameters
    ----------
    positions
        Unwrapped, in Å, shape (n_frames, n_atoms, 3).
    max_lag
        Largest lag in frames; n_frames - 1 unless given.

    Returns
    -------
    numpy.ndarray
        Å², shape (max_lag + 1,).

    Raises
    ------
    ValueError
        If the positions have another shape, or fewer than two frames.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(4.0)[:, None, None] * np.array([1.0, 0.0, 0.0])  # 1 Å a frame
    >>> mean_squared_displacement(line).round(6)
    array([0., 1., 4., 9.])
    """
    x = np.asarray(positions, dtype=float)
    if x.ndim != 3 or x.shape[2] != 3 or x.shape[1] == 0:
        raise ValueError(f"positions have shape {x.shape}, expected (n_frames, n_atoms, 3)")
    n = x.shape[0]
    if n < 2:
        raise ValueError("a displacement needs at least two frames")
    x = x - x.mean(axis=0)  # less cancellation below
    power = np.abs(np.fft.rfft(x, n=2 * n, axis=0)) ** 2
    cross = np.fft.irfft(power, n=2 * n, axis=0)[:n].sum(axis=2)
    square = (x**2).sum(axis=2)
    zero = np.zeros((1, x.shape[1]))
    ahead = np.cumsum(np.concatenate([zero, square[::-1]]), axis=0)[::-1]  # sum of square[m:]
    behind = np.cumsum(np.concatenate([zero, square]), axis=0)  # sum of square[:m]
    lags = np.arange(n)
    total = ahead[lags] + behind[n - lags] - 2 * cross
    msd = (total / (n - lags)[:, None]).mean(axis=1)
    msd[0] = 0.0
    return msd[: n if max_lag is None else min(max_lag, n - 1) + 1]


@dataclass(frozen=True)
class Diffusion:
    """Diffusion coefficient from the slope of the MSD.

    Attributes
    ----------
    coefficient, standard_error
        Å²/fs.
    interval
        95 % interval from Student's t over the blocks, Å²/fs.
    blocks
        Coefficient of each block, shape (n_blocks,), Å²/fs.

    Examples
    --------
    >>> import numpy as np
    >>> found = Diffusion(2e-5, 3e-6, (1.2e-5, 2.8e-5), blocks=np.array([1.8e-5, 2.2e-5]))
    >>> f"{found.cm2_per_s:.1e} cm²/s"
    '2.0e-06 cm²/s'
    """

    coefficient: float
    standard_error: float
    interval: tuple[float, float]
    blocks: np.ndarray

    @property
    def cm2_per_s(self) -> float:
        """The coefficient in cm²/s."""
        return self.coefficient * CM2_S_PER_A2_FS


def diffusion_coefficient(
    runs: np.ndarray | Sequence[np.ndarray],
    time_step: float,
    n_blocks: int = 5,
    fit: tuple[float, float] = (0.05, 0.3),
    dimensions: int = 3,
) -> Diffusion:
    """Fit MSD = 2 d D t + c in independent blocks; their scatter gives the error bar.

    Parameters
    ----------
    runs
        Unwrapped positions of the diffusing atoms in Å, shape (n_frames, n_atoms, 3), of one run
        or of several independent ones.
    time_step
        Time between frames in fs.
    n_blocks
        Blocks each run is cut into. With several runs, 1 makes each run a block.
    fit
        Window of lags of the fit, as fractions of the length of a block. Short lags hold the
        ballistic part and vibrations, long ones have no statistics.
    dimensions
        Number d of directions in which the atoms move.

    Returns
    -------
    Diffusion
        In Å²/fs.

    Raises
    ------
    ValueError
        If there are fewer than two blocks or a block is too short for a fit.

    Examples
    --------
    >>> import numpy as np
    >>> walk = np.random.default_rng(0).normal(scale=0.1, size=(2000, 8, 3)).cumsum(axis=0)
    >>> found = diffusion_coefficient(walk, time_step=10.0)  # 0.1² / (2 · 10 fs) = 5e-4 Å²/fs
    >>> round(found.coefficient, 5), round(found.standard_error, 5)
    (0.00048, 4e-05)
    """
    arrays = [runs] if isinstance(runs, np.ndarray) else list(runs)
    if not time_step > 0:
        raise ValueError("the time step must be positive")
    if not 0 <= fit[0] < fit[1] <= 1:
        raise ValueError(f"fit window {fit} must be two increasing fractions of a block")
    slopes = []
    for positions in arrays:
        for block in np.array_split(np.asarray(positions), n_blocks):
            low = max(1, int(fit[0] * len(block)))
            high = int(fit[1] * len(block))
            if high - low < 2:
                raise ValueError(
                    f"a block of {len(block)} frames is too short: use fewer blocks or more frames"
                )
            msd = mean_squared_displacement(block, max_lag=high)
            times = np.arange(low, high + 1) * time_step
            slopes.append(stats.linregress(times, msd[low : high + 1]).slope)
    if len(slopes) < 2:
        raise ValueError("an error bar needs at least two blocks")
    blocks = np.array(slopes) / (2 * dimensions)
    mean, error = float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
    reach = float(stats.t.ppf(0.975, len(blocks) - 1)) * error
    return Diffusion(mean, error, (mean - reach, mean + reach), blocks)
