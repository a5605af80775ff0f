"""Read the trajectory of a run or production run from its folder."""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase import Atoms

__all__ = ["read_trajectory"]


def read_trajectory(folder: str | Path, first_step: int = 0, *, trajectory: int = 0) -> list[Atoms]:
    """Return the frames of a run in the order of their MD steps, each step once.

    A run is written segment by segment. Where the MD was rewound, steps were taken twice: the later
    segment, which the run went on from, counts.

    Parameters
    ----------
    folder
        ``<artifact dir>/runs/<run_id>``, or that of a production run.
    first_step
        Frames before this MD step are left out (equilibration).
    trajectory
        Number of the trajectory.

    Returns
    -------
    list of Atoms
        With energy (eV, on the scale of the labels) and forces; ``info`` has step, time_fs, stage
        and source.

    Raises
    ------
    FileNotFoundError
        If there is no trajectory.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> frames = read_trajectory(get_settings().ARTIFACT_DIR / "runs" / "v0-1")
    >>> frames[0].get_forces().shape, sorted(frames[0].info)
    ((4, 3), ['source', 'stage', 'step', 'time_fs'])
    >>> read_trajectory("nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no trajectory in nowhere: is it the folder of a run?
    """
    root = Path(folder).expanduser()
    paths = sorted(root.glob(f"trajectories/{trajectory:03d}/trajectory/[!.]*.extxyz"))
    paths = paths or sorted(root.glob("trajectory/[!.]*.extxyz"))  # a run of version 0.1
    frames: dict[int, Atoms] = {}
    for path in paths:
        if path.stat().st_size:
            for atoms in ase.io.read(path, ":", format="extxyz"):
                frames[int(atoms.info["step"])] = atoms
    if not frames:
        raise FileNotFoundError(f"no trajectory in {folder}: is it the folder of a run?")
    return [frames[step] for step in sorted(frames) if step >= first_step]
