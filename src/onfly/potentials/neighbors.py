"""Neighbour lists in one canonical order, with a skin that never changes the result.

A list with a skin is only a set of candidates: the pairs within the cutoff are selected from it
at every step, in the same order as in a fresh search. The two are therefore equal bit by bit, and
a molecular-dynamics run does not depend on when its list was last rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from pymatgen.optimization.neighbors import find_points_in_spheres

__all__ = ["Candidates", "Pairs", "find_candidates", "select_pairs"]

# Added to the search radius of a fresh list, so that only `select_pairs` decides about pairs
# whose distance equals the cutoff to rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Candidates:
    """Pairs within cutoff + skin at some earlier positions, by (center, neighbor, image).

    Parameters
    ----------
    positions, cell, pbc, numbers
        The configuration they were found for: shapes (N, 3), (3, 3), (3,), (N,).
    center, neighbor
        Atom indices, shape (E,).
    image
        Lattice translation of the neighbour, integers of shape (E, 3).
    reverse
        Index of the same pair seen from its other end, shape (E,).
    skin
        Margin in Å by which the search radius exceeded the cutoff.
    """

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    numbers: np.ndarray
    center: np.ndarray
    neighbor: np.ndarray
    image: np.ndarray
    reverse: np.ndarray
    skin: float

    def valid_for(self, atoms: Atoms) -> bool:
        """Say whether every pair within the cutoff at the new positions is among these."""
        if len(atoms) != len(self.numbers) or not np.array_equal(atoms.numbers, self.numbers):
            return False
        if not np.array_equal(atoms.pbc, self.pbc):
            return False
        if not np.array_equal(np.asarray(atoms.cell), self.cell):
            return False
        moved = atoms.positions - self.positions
        return bool((moved**2).sum(axis=1).max(initial=0.0) <= (0.5 * self.skin) ** 2)


@dataclass(frozen=True)
class Pairs:
    """Directed pairs within the cutoff.

    Parameters
    ----------
    center, neighbor, reverse
        As in `Candidates`, shape (E,).
    vectors
        From the centre to the neighbour in Å, float64, shape (E, 3).
    """

    center: np.ndarray
    neighbor: np.ndarray
    reverse: np.ndarray
    vectors: np.ndarray

    def undirected(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the undirected pair of each pair, (E,), and one pair of each of them, (E / 2,)."""
        own = np.arange(len(self.center))
        representative = np.minimum(own, self.reverse)
        first = np.flatnonzero(representative == own)
        return np.searchsorted(first, representative), first

    def rank(self) -> np.ndarray:
        """Return how many pairs of the same centre come before each pair, shape (E,)."""
        # Sorted by centre, as all lists here are.
        return np.arange(len(self.center)) - np.searchsorted(self.center, self.center)


def find_candidates(atoms: Atoms, cutoff: float, skin: float = 0.0) -> Candidates:
    """Search all pairs closer than cutoff + skin (Å).

    Raises
    ------
    ValueError
        If positions or cell are not finite, or a periodic direction has no lattice vector.
    """
    cell = np.asarray(atoms.cell, dtype=float)
    if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
        raise ValueError("positions or cell contain NaN or infinity: the dynamics has exploded")
    if (np.linalg.norm(cell, axis=1)[atoms.pbc] < 1e-8).any():
        raise ValueError("a periodic direction has a lattice vector of zero length: set the cell")
    radius = cutoff + skin + ROUNDING
    positions = np.ascontiguousarray(atoms.positions, dtype=float)
    # pymatgen's search is compiled, and a hundred times faster than ASE's for 8 to 200 atoms.
    center, neighbor, image, _ = find_points_in_spheres(
        positions,
        positions,
        r=radius,
        pbc=np.ascontiguousarray(atoms.pbc, dtype=np.int64),
        lattice=np.ascontiguousarray(complete_cell(cell), dtype=float),
    )
    image = image.reshape(-1, 3).astype(np.int64)
    other = (center != neighbor) | image.any(axis=1)  # an atom is not its own neighbour
    center, neighbor, image = center[other], neighbor[other], image[other]
    order = np.lexsort((*image.T[::-1], neighbor, center))
    center, neighbor, image = center[order], neighbor[order], image[order]
    # The reversed pairs are the same set, so their sorting order is the map between the ends.
    reverse = np.lexsort((*(-image).T[::-1], center, neighbor))
    return Candidates(
        atoms.positions.copy(),
        cell.copy(),
        atoms.pbc.copy(),
        atoms.numbers.copy(),
        center,
        neighbor,
        image,
        reverse,
        skin,
    )


def select_pairs(candidates: Candidates, atoms: Atoms, cutoff: float) -> Pairs:
    """Keep the candidates that are within the cutoff at the positions of `atoms`."""
    vectors = (
        atoms.positions[candidates.neighbor]
        - atoms.positions[candidates.center]
        + candidates.image @ np.asarray(atoms.cell, dtype=float)
    )
    keep = np.einsum("ij,ij->i", vectors, vectors) < cutoff**2
    keep &= keep[candidates.reverse]  # the two ends may round differently
    new_index = np.cumsum(keep) - 1
    return Pairs(
        candidates.center[keep],
        candidates.neighbor[keep],
        new_index[candidates.reverse[keep]],
        vectors[keep],
    )
