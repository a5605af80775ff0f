"""Guards against MD that has left the physical world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from onfly.dynamics.state import MDState

__all__ = ["Guards"]

# atoms up to which all pairs are quicker than a neighbour list (measured: 0.3 against 4.4 ms for
# 32 atoms, 14 against 16 ms for 256)
_ALL_PAIRS = 256


@dataclass(frozen=True)
class Guards:
    """Limits that an accepted state keeps.

    Parameters
    ----------
    max_temperature
        K; None is 500 K above five times the target (small cells fluctuate much).
    min_distance
        Shortest distance between two atoms in units of the sum of their covalent radii.
    max_volume_change
        Largest ratio of the volume to the initial one, either way.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.dynamics.state import draw_momenta
    >>> atoms = bulk("Cu", cubic=True)
    >>> momenta = draw_momenta(atoms, 9000, ("my run",))
    >>> state = MDState(atoms.numbers, atoms.pbc, atoms.positions, momenta, atoms.cell.array,
    ...                 step=0, energy=0.0, forces=np.zeros((4, 3)), stress=None, source="model")
    >>> Guards().check(state, target=300.0, initial_volume=None)
    'temperature 4791 K is above 2000 K'
    """

    max_temperature: float | None = None
    min_distance: float = 0.5
    max_volume_change: float = 2.0

    def check(
        self, state: MDState, target: float | None, initial_volume: float | None
    ) -> str | None:
        """Return what is wrong with a state in words, or None."""
        arrays = (state.positions, state.momenta, state.forces, np.array(state.energy))
        if not all(np.isfinite(a).all() for a in arrays):
            return "positions, momenta, forces or energy are not finite"
        limit = self.max_temperature or (None if target is None else 500.0 + 5.0 * target)
        if limit is not None and state.temperature > limit:
            return f"temperature {state.temperature:.0f} K is above {limit:.0f} K"
        ratio = shortest_distance(state.to_atoms(), self.min_distance)
        if ratio < self.min_distance:
            return (
                f"two atoms are closer than {self.min_distance} of the sum of their covalent "
                f"radii ({ratio:.2f})"
            )
        if state.volume is not None and initial_volume is not None:
            change = state.volume / initial_volume
            if max(change, 1 / change) > self.max_volume_change:
                return f"the volume is {change:.2f} times the initial one"
        return None


def shortest_distance(atoms: Atoms, limit: float) -> float:
    """Return the shortest distance over the sum of covalent radii, if below the limit, else inf.

    It is asked for at every step. For few atoms all pairs are quicker than a neighbour list; with
    the nearest image only, which is exact for distances up to half of the least height of the cell.
    """
    radii = covalent_radii[atoms.numbers]
    height = _least_height(atoms)
    if len(atoms) > _ALL_PAIRS or 2.0 * limit * radii.max() > 0.5 * height:
        return _by_neighbour_list(atoms, limit)
    i, j = np.triu_indices(len(atoms), k=1)
    if len(i) == 0:
        return float("inf")
    vectors = atoms.positions[j] - atoms.positions[i]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        fractional = np.linalg.solve(cell.T, vectors.T).T
        vectors = vectors - (np.round(fractional) * atoms.pbc) @ cell
    ratio = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) / (radii[i] + radii[j])
    found = float(ratio.min())
    return found if found < limit else float("inf")


def _least_height(atoms: Atoms) -> float:
    """Return the least distance between opposite faces of the cell, over periodic directions."""
    if not atoms.pbc.any():
        return float("inf")
    # rows of the reciprocal cell have the length of one over a height
    inverse = np.linalg.norm(np.linalg.inv(atoms.cell.complete().array), axis=0)
    return float((1.0 / inverse[atoms.pbc]).min())


def _by_neighbour_list(atoms: Atoms, limit: float) -> float:
    i, j, d = neighbor_list("ijd", atoms, list(limit * covalent_radii[atoms.numbers]))
    if len(d) == 0:
        return float("inf")
    radii = covalent_radii[atoms.numbers]
    return float((d / (radii[i] + radii[j])).min())
