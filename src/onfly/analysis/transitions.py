"""Changes of state along any scalar coordinate, such as a dihedral angle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

__all__ = ["Transition", "coordinate_series", "dihedral", "find_transitions", "state_series"]


@dataclass(frozen=True)
class Transition:
    """A change of state.

    Attributes
    ----------
    frame
        First frame inside the core of the new state.
    left
        Last frame inside the core of the old state.
    origin, target
        Names of the two states.

    Examples
    --------
    >>> Transition(frame=52, left=47, origin="gauche", target="trans").target
    'trans'
    """

    frame: int
    left: int
    origin: str
    target: str


def coordinate_series(frames: Iterable[Atoms], coordinate: Callable[[Atoms], float]) -> np.ndarray:
    """Evaluate a function of the atoms at every frame, shape (n_frames,).

    Parameters
    ----------
    frames
        Configurations.
    coordinate
        The function, such as that of `dihedral`.

    Returns
    -------
    numpy.ndarray
        In the unit of the function, shape (n_frames,).

    Examples
    --------
    >>> from ase.build import molecule
    >>> coordinate_series([molecule("H2O")], lambda atoms: atoms.get_distance(0, 1)).round(2)
    array([0.97])
    """
    return np.array([float(coordinate(atoms)) for atoms in frames])


def dihedral(i: int, j: int, k: int, m: int) -> Callable[[Atoms], float]:
    """Return the function that gives the dihedral of four atoms in degrees, from 0 to 360.

    Parameters
    ----------
    i, j, k, m
        Indices of the atoms; the angle is that about the bond from j to k.

    Returns
    -------
    callable
        Of Atoms; in periodic cells bonds go to the nearest image.

    Examples
    --------
    >>> from ase.build import molecule
    >>> float(round(dihedral(2, 0, 1, 3)(molecule("H2O2"))))
    121.0
    """

    def angle(atoms: Atoms) -> float:
        return float(atoms.get_dihedral(i, j, k, m, mic=bool(atoms.pbc.any())))

    return angle


def state_series(
    values: ArrayLike, cores: Mapping[str, tuple[float, float]], period: float | None = None
) -> list[str | None]:
    """Name the state at every frame, with hysteresis.

    A frame inside the core of a state belongs to it; a frame between the cores belongs to the
    core visited last (None before the first visit). A barrier is therefore crossed only when the
    other core is reached.

    Parameters
    ----------
    values
        In any unit, shape (n_frames,).
    cores
        Name to (low, high), in the unit of the values. With a period, low > high means that the
        core holds the seam, such as (330, 30) degrees.
    period
        360 for an angle in degrees.

    Returns
    -------
    list of str or None
        One for each frame.

    Raises
    ------
    ValueError
        If a value lies in two cores, there is no core, or one has no width.

    Examples
    --------
    >>> state_series([60, 120, 178, 120], {"gauche": (30, 90), "trans": (150, 210)}, period=360)
    ['gauche', 'gauche', 'trans', 'trans']
    """
    x = np.asarray(values, dtype=float)
    if period is not None:
        x = np.mod(x, period)
    inside = {}
    for name, (low, high) in cores.items():
        if low <= high:
            inside[name] = (x >= low) & (x <= high)
        elif period is not None:
            inside[name] = (x >= low) | (x <= high)
        else:
            raise ValueError(f"core {name!r}: {low} > {high}, which needs a period")
    if not inside:
        raise ValueError("no cores given")
    if (np.sum(list(inside.values()), axis=0) > 1).any():
        raise ValueError("cores overlap: leave a gap between them, it is the hysteresis")
    states: list[str | None] = []
    current: str | None = None
    for t in range(x.size):
        current = next((name for name, mask in inside.items() if mask[t]), current)
        states.append(current)
    return states


def find_transitions(
    values: ArrayLike, cores: Mapping[str, tuple[float, float]], period: float | None = None
) -> list[Transition]:
    """List the changes of state; see `state_series` for the arguments.

    Parameters
    ----------
    values, cores, period
        See `state_series`.

    Returns
    -------
    list of Transition
        By frame.

    Raises
    ------
    ValueError
        As of `state_series`.

    Examples
    --------
    >>> found = find_transitions([60, 62, 120, 178, 181], {"gauche": (30, 90), "trans": (150, 210)})
    >>> [(t.left, t.frame, t.target) for t in found]
    [(1, 3, 'trans')]
    """
    x = np.asarray(values, dtype=float)
    states = state_series(x, cores, period)
    wrapped = x if period is None else np.mod(x, period)

    def in_core(t: int, name: str) -> bool:
        low, high = cores[name]
        return low <= wrapped[t] <= high if low <= high else not high < wrapped[t] < low

    transitions = []
    for t in range(1, len(states)):
        old, new = states[t - 1], states[t]
        if old is not None and new is not None and new != old:
            left = next(s for s in range(t - 1, -1, -1) if in_core(s, old))
            transitions.append(Transition(t, left, old, new))
    return transitions
