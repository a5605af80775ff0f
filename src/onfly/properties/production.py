"""Structure and diffusion from production runs whose force fields were members of one posterior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onfly.analysis.trajectory import read_trajectory
from onfly.properties.calibrated import spread
from onfly.properties.dynamics import Dynamics, observables
from onfly.schemas.properties import PropertyDoc, PropertyValueDoc

__all__ = ["production_properties"]


def production_properties(
    folders: Sequence[str | Path], *, first_step: int = 0, factor: float = 1.0
) -> PropertyDoc:
    """Return g(r) and diffusion coefficients over production runs, with their spread.

    Runs of ``ProductionMaker(predictor="member", n_runs=M)`` have a member each as force field: the
    spread between them is the uncertainty of the model and of the sampling together. With
    ``predictor="mean"`` it is that of the sampling alone.

    Parameters
    ----------
    folders
        Of the production runs, two or more.
    first_step
        Frames before it are left out; `ProductionDoc.n_equilibration_steps`.
    factor
        On the spread; see `onfly.properties.calibrated.widening`.

    Returns
    -------
    PropertyDoc
        Of kind ``md``.

    Raises
    ------
    ValueError
        If there are fewer than two runs, or too few frames in one.
    FileNotFoundError
        If a folder has no trajectory.

    Examples
    --------
    >>> production_properties(["artifacts/runs/diffusion-0"])
    Traceback (most recent call last):
        ...
    ValueError: an error bar needs at least two production runs
    """
    if len(folders) < 2:
        raise ValueError("an error bar needs at least two production runs")
    found = []
    for folder in folders:
        frames = read_trajectory(folder, first_step)
        times = np.array([float(frame.info["time_fs"]) for frame in frames])
        steps = np.diff(times)
        # a step that was labelled or rewound may be written besides the regular ones
        interval = float(np.median(steps)) if len(steps) else 0.0
        count = (times - times[0]) / max(interval, 1e-9)
        regular = np.abs(count - np.round(count)) < 1e-3
        kept = [frame for frame, keep in zip(frames, regular, strict=True) if keep]
        found.append(observables(kept, interval))
    unit = Dynamics().unit
    values = [
        PropertyValueDoc(
            name=name,
            unit=unit(name),
            value=float(np.mean([one.values[name] for one in found])),
            std=float(spread([one.values[name] for one in found], factor)),
        )
        for name in found[0].values
    ]
    g = np.array([one.curves["g"] for one in found])
    curves = {
        "model": {"r": found[0].curves["r"].tolist(), "g": g.mean(0).tolist()},
        "std": {"g": spread(list(g), factor).tolist()},
    }
    return PropertyDoc(kind="md", values=values, n_draws=len(found), factor=factor, curves=curves)
