"""What labels say of the energies of configurations close to them.

A Gaussian over the last layer knows how far the features of a configuration are from those that
were learned, and no more: once an error has surprised the calibration, its std is too wide at every
configuration, even half a femtosecond behind a label. But there the error is known. With r the
error that the fit left at the label and f that of its forces along the way d to the configuration,
the error is r + ∫ f·dx, so that its variance is about r² + (f d)², f being the RMS of a force error
along a direction before it is learned. As a second estimate of one error it adds its precision to
that of the Gaussian; where the way is long it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms

__all__ = ["NearLabels"]

# errors of forces are larger along the soft directions that MD takes than along random ones
ALONG_THE_WAY = 2.0
# Å: cells that differ by more are strained, which positions do not tell
SAME_CELL = 1e-6


@dataclass(frozen=True)
class NearLabels:
    """Learned labels, and what the fit left of them.

    Parameters
    ----------
    configurations
        L labelled configurations.
    left
        Energy error of the ensemble's mean at each of them, eV, shape (L,).
    force_error
        RMS of the error of a force along a random direction before it was learned, eV/Å.

    Raises
    ------
    ValueError
        If there is not one error for each configuration.

    Examples
    --------
    >>> from ase.build import bulk
    >>> label, moved = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    >>> moved.positions[0, 0] += 0.1
    >>> near = NearLabels([label], np.array([0.003]), force_error=0.05)
    >>> round(near.variance(label) ** 0.5, 4), round(near.variance(moved) ** 0.5, 4)
    (0.003, 0.0104)
    """

    configurations: Sequence[Atoms]
    left: np.ndarray
    force_error: float

    def __post_init__(self) -> None:
        if len(self.configurations) != len(self.left):
            raise ValueError(
                f"{len(self.left)} errors for {len(self.configurations)} labelled configurations"
            )

    def variance(self, atoms: Atoms) -> float:
        """Return the smallest variance of the energy that a label warrants, eV².

        Infinite where no label has the same atoms in the same cell.
        """
        found = np.inf
        slope = ALONG_THE_WAY * self.force_error
        for first, positions, left in self._cells:
            if not _same_cell(first, atoms):
                continue
            way = atoms.positions - positions
            if atoms.pbc.any():
                turns = np.round(way @ np.linalg.pinv(atoms.cell.array)) * atoms.pbc
                way = way - turns @ atoms.cell.array
            square = np.einsum("lni,lni->l", way, way)
            found = min(found, float(np.min(left**2 + slope**2 * square)))
        return found

    @cached_property
    def _cells(self) -> list[tuple[Atoms, np.ndarray, np.ndarray]]:
        """Labels of the same atoms in the same cell: one of them, all positions, all errors."""
        groups: list[tuple[Atoms, list[np.ndarray], list[float]]] = []
        for label, left in zip(self.configurations, self.left, strict=True):
            for first, positions, errors in groups:
                if _same_cell(first, label):
                    positions.append(label.positions)
                    errors.append(float(left))
                    break
            else:
                groups.append((label, [label.positions], [float(left)]))
        return [(first, np.array(p), np.array(e)) for first, p, e in groups]


def _same_cell(one: Atoms, other: Atoms) -> bool:
    return np.array_equal(one.numbers, other.numbers) and np.allclose(
        one.cell.array, other.cell.array, rtol=0.0, atol=SAME_CELL
    )
