"""Order parameters of phases, followed over a programme of temperatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from numpy.typing import ArrayLike
from scipy import stats

from onfly.analysis.averages import CorrelatedMean, correlated_mean

__all__ = [
    "StageMean",
    "bond_length_distortion",
    "cell_anisotropy",
    "difference_of_stages",
    "stage_means",
]


def bond_length_distortion(
    centre: str, ligand: str, n_neighbours: int = 6
) -> Callable[[Atoms], float]:
    """Return the order parameter "relative spread of the bond lengths around each centre".

    For every centre the standard deviation of its ``n_neighbours`` shortest bonds over their
    mean, averaged over the centres. Of a Jahn-Teller distorted octahedron (LaMnO3: Mn, O, 6) it is
    finite in the ordered phase; thermal motion alone gives a smaller value that grows as √T.

    Parameters
    ----------
    centre, ligand
        Chemical symbols.
    n_neighbours
        Bonds of a centre.

    Returns
    -------
    callable
        Of Atoms, without unit. It raises a ValueError where a centre has too few ligands.

    Raises
    ------
    ValueError
        By the function that is returned.

    Examples
    --------
    >>> from ase.build import bulk
    >>> salt = bulk("NaCl", "rocksalt", 5.64, cubic=True) * 2
    >>> salt.rattle(0.1, seed=0)
    >>> round(bond_length_distortion("Na", "Cl")(salt), 3)
    0.045
    """

    def distortion(atoms: Atoms) -> float:
        symbols = np.array(atoms.get_chemical_symbols())
        positions = atoms.get_positions()
        centres, ligands = symbols == centre, symbols == ligand
        if not centres.any() or ligands.sum() < n_neighbours:
            raise ValueError(
                f"{atoms.get_chemical_formula()} has no {centre} with {n_neighbours} {ligand}"
            )
        _, d = get_distances(positions[centres], positions[ligands], cell=atoms.cell, pbc=atoms.pbc)
        bonds = np.sort(d, axis=1)[:, :n_neighbours]
        return float(np.mean(bonds.std(axis=1) / bonds.mean(axis=1)))

    return distortion


def cell_anisotropy(repeats: tuple[float, float, float] = (1, 1, 1)) -> Callable[[Atoms], float]:
    """Return the order parameter "spread of the cell lengths", (max - min) / mean.

    Parameters
    ----------
    repeats
        Divide the cell lengths by these first, so that a cubic phase gives 0; such as
        (√2, 2, √2) for the Pnma setting of a perovskite.

    Returns
    -------
    callable
        Of Atoms, without unit.

    Examples
    --------
    >>> from ase import Atoms
    >>> round(cell_anisotropy()(Atoms("He", cell=[4.0, 4.0, 4.4], pbc=True)), 3)
    0.097
    """

    def anisotropy(atoms: Atoms) -> float:
        lengths = atoms.cell.lengths() / np.asarray(repeats, dtype=float)
        return float((lengths.max() - lengths.min()) / lengths.mean())

    return anisotropy


@dataclass(frozen=True)
class StageMean:
    """Average of an order parameter over the equilibrated part of a stage.

    Attributes
    ----------
    stage
        Number of the stage in the temperature programme.
    temperature
        Mean of the given temperatures in K, None if none were given.
    average
        Mean with an error bar that allows for the correlation in time.

    Examples
    --------
    >>> from onfly.analysis.averages import CorrelatedMean
    >>> StageMean(0, 300.0, CorrelatedMean(0.1, 0.01, 500, 40.0)).temperature
    300.0
    """

    stage: int
    temperature: float | None
    average: CorrelatedMean


def stage_means(
    values: ArrayLike,
    stages: Sequence[int] | np.ndarray,
    temperatures: ArrayLike | None = None,
    discard: float = 0.25,
) -> list[StageMean]:
    """Average an order parameter over each stage of a temperature programme.

    Parameters
    ----------
    values
        Order parameter at every frame, shape (n,).
    stages
        Stage of every frame, shape (n,).
    temperatures
        Temperature at every frame in K, shape (n,).
    discard
        Fraction of each stage left out at its start, while the phase equilibrates.

    Returns
    -------
    list of StageMean
        One for each stage, in the unit of the order parameter.

    Raises
    ------
    ValueError
        If shapes differ or a stage keeps fewer than two frames.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.random.default_rng(0).normal([0.1] * 100 + [0.3] * 100, 0.01)
    >>> found = stage_means(values, [0] * 100 + [1] * 100, [300] * 100 + [600] * 100)
    >>> [(s.stage, s.temperature, round(s.average.mean, 2)) for s in found]
    [(0, 300.0, 0.1), (1, 600.0, 0.3)]
    """
    x, s = np.asarray(values, dtype=float), np.asarray(stages)
    t = None if temperatures is None else np.asarray(temperatures, dtype=float)
    if x.shape != s.shape or (t is not None and t.shape != x.shape):
        raise ValueError("values, stages and temperatures must have one entry for each frame")
    if not 0 <= discard < 1:
        raise ValueError("discard is a fraction from 0 to below 1")
    result = []
    for stage in np.unique(s):
        kept = np.flatnonzero(s == stage)
        kept = kept[int(discard * kept.size) :]
        if kept.size < 2:
            raise ValueError(f"stage {stage} has too few frames for an average")
        temperature = None if t is None else float(t[kept].mean())
        result.append(StageMean(int(stage), temperature, correlated_mean(x[kept])))
    return result


def difference_of_stages(first: StageMean, second: StageMean) -> tuple[float, float, float]:
    """Tell two stages apart (Welch's test with the effective numbers of samples).

    Parameters
    ----------
    first, second
        Of `stage_means`.

    Returns
    -------
    difference, standard_error, p_value
        Of second minus first, in the unit of the order parameter; p is two-sided.

    References
    ----------
    B. L. Welch, Biometrika 34, 28 (1947).

    Examples
    --------
    >>> from onfly.analysis.averages import CorrelatedMean
    >>> cold = StageMean(0, 300.0, CorrelatedMean(0.10, 0.01, 500, 40.0))
    >>> hot = StageMean(1, 900.0, CorrelatedMean(0.04, 0.01, 500, 40.0))
    >>> difference, error, p_value = difference_of_stages(cold, hot)
    >>> round(difference, 3), round(error, 3), p_value < 0.001
    (-0.06, 0.014, True)
    """
    a, b = first.average, second.average
    difference = b.mean - a.mean
    error = float(np.hypot(a.standard_error, b.standard_error))
    if error == 0:
        return difference, 0.0, 1.0 if difference == 0 else 0.0
    na, nb = max(a.n_effective, 2.0), max(b.n_effective, 2.0)
    df = error**4 / (a.standard_error**4 / (na - 1) + b.standard_error**4 / (nb - 1))
    return difference, error, float(2 * stats.t.sf(abs(difference) / error, df))
