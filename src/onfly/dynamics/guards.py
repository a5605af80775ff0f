"""Guards against MD that has left the physical world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from onfly.dynamics.state import MDState

__all__ = ["Guards"]


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
    """Return the shortest distance over the sum of covalent radii, if below the limit, else inf."""
    i, j, d = neighbor_list("ijd", atoms, list(limit * covalent_radii[atoms.numbers]))
    if len(d) == 0:
        return float("inf")
    radii = covalent_radii[atoms.numbers]
    return float((d / (radii[i] + radii[j])).min())
