"""Hops of mobile atoms between host atoms, such as protons between sulphur atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

__all__ = ["Jump", "assign_hosts", "find_jumps", "residence_times"]


@dataclass(frozen=True)
class Jump:
    """One hop: frame at which ``particle`` leaves ``origin`` for ``target`` (atom indices).

    Attributes
    ----------
    frame
        First frame with the new host.
    particle, origin, target
        Indices of the mobile atom and of the two hosts.

    Examples
    --------
    >>> Jump(frame=120, particle=160, origin=64, target=71).target
    71
    """

    frame: int
    particle: int
    origin: int
    target: int


def _indices(atoms: Atoms, selection: str | Sequence[int]) -> np.ndarray:
    if isinstance(selection, str):
        found = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == selection)
    else:
        found = np.asarray(selection, dtype=int)
    if found.size == 0:
        raise ValueError(f"no atoms match {selection!r} in {atoms.get_chemical_formula()}")
    return found


def assign_hosts(
    frames: Sequence[Atoms],
    mobile: str | Sequence[int],
    hosts: str | Sequence[int],
    margin: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Say to which host each mobile atom belongs, with hysteresis.

    A mobile atom changes its host only when another one is nearer by more than ``margin``; an
    atom that rattles half way between two hosts does not jump at each vibration.

    Parameters
    ----------
    frames
        Configurations of one trajectory, in the order of time.
    mobile, hosts
        A chemical symbol, or atom indices.
    margin
        Å.

    Returns
    -------
    particles
        Indices of the mobile atoms, shape (n_mobile,).
    assignment
        Index of the host atom, shape (n_frames, n_mobile).

    Raises
    ------
    ValueError
        If there are no frames, a selection is empty, or the margin is negative.

    Examples
    --------
    >>> from ase import Atoms
    >>> def frame(x):
    ...     return Atoms("OOH", [[0, 0, 0], [4, 0, 0], [x, 0, 0]])
    >>> assign_hosts([frame(1.0), frame(2.05), frame(3.0)], "H", "O")[1].ravel()
    array([0, 0, 1])
    """
    if not frames:
        raise ValueError("no frames given")
    if margin < 0:
        raise ValueError("the margin must not be negative")
    particles, host_indices = _indices(frames[0], mobile), _indices(frames[0], hosts)
    columns = np.arange(particles.size)
    assignment = np.empty((len(frames), particles.size), dtype=int)
    current: np.ndarray | None = None
    for t, atoms in enumerate(frames):
        positions = atoms.get_positions()
        _, d = get_distances(
            positions[particles], positions[host_indices], cell=atoms.cell, pbc=atoms.pbc
        )
        nearest = d.argmin(axis=1)
        if current is None:
            current = nearest
        else:
            leaves = d[columns, nearest] < d[columns, current] - margin
            current = np.where(leaves, nearest, current)
        assignment[t] = host_indices[current]
    return particles, assignment


def find_jumps(
    frames: Sequence[Atoms],
    mobile: str | Sequence[int],
    hosts: str | Sequence[int],
    margin: float = 0.2,
    min_stay: int = 1,
) -> list[Jump]:
    """List all hops, in the order of time.

    Parameters
    ----------
    frames, mobile, hosts, margin
        See `assign_hosts` (Å).
    min_stay
        Frames a particle must stay with the new host, or the hop and the return do not count.

    Returns
    -------
    list of Jump
        By frame.

    Raises
    ------
    ValueError
        As of `assign_hosts`.

    Examples
    --------
    >>> from ase import Atoms
    >>> frames = [Atoms("OOH", [[0, 0, 0], [4, 0, 0], [x, 0, 0]]) for x in (1.0, 1.2, 3.0, 3.1)]
    >>> find_jumps(frames, "H", "O")
    [Jump(frame=2, particle=2, origin=0, target=1)]
    """
    particles, assignment = assign_hosts(frames, mobile, hosts, margin)
    jumps: list[Jump] = []
    for column, particle in enumerate(particles):
        series = assignment[:, column]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])
        lengths = np.diff(np.concatenate([starts, [len(series)]]))
        host = int(series[0])
        for start, length in zip(starts[1:], lengths[1:], strict=True):
            target = int(series[start])
            if length >= min_stay and target != host:
                jumps.append(Jump(int(start), int(particle), host, target))
                host = target
    return sorted(jumps, key=lambda jump: (jump.frame, jump.particle))


def residence_times(jumps: Sequence[Jump]) -> np.ndarray:
    """Frames between successive hops of each particle, shape (n,).

    The stays cut off by the start and the end of the trajectory are left out.

    Parameters
    ----------
    jumps
        Of `find_jumps`.

    Returns
    -------
    numpy.ndarray
        Number of frames, shape (n,).

    Examples
    --------
    >>> residence_times([Jump(10, 5, 0, 1), Jump(34, 5, 1, 2), Jump(40, 6, 3, 0)])
    array([24])
    """
    times: list[int] = []
    for particle in sorted({jump.particle for jump in jumps}):
        times.extend(np.diff([j.frame for j in jumps if j.particle == particle]).tolist())
    return np.array(times, dtype=int)
