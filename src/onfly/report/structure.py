"""The structure view of a page: the labelled configurations as data for its small script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.visualize.plot import plot_atoms
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from onfly.report import theme
from onfly.report.records import LabelRow
from onfly.report.run_data import RunReportData

__all__ = ["Snapshot", "draw_structure", "snapshots", "structure_data"]

MAX_SNAPSHOTS = 40
MAX_COORDINATES = 60_000  # about 400 kB of the page


@dataclass(frozen=True)
class Snapshot:
    """One configuration with the text of its slider position."""

    title: str
    atoms: Atoms


def snapshots(data: RunReportData) -> list[Snapshot]:
    """Return labelled configurations, evenly chosen if there are many, and the last MD frames."""
    shots = [Snapshot(_title(data, x), x.structure) for x in data.labels if x.structure is not None]
    last = [
        Snapshot(
            "last frame of the MD"
            + (f", trajectory {t.index + 1}" if len(data.trajectories) > 1 else ""),
            t.last_frame,
        )
        for t in data.trajectories
        if t.last_frame is not None
    ]
    largest = max((len(shot.atoms) for shot in shots), default=1)
    n_max = int(np.clip(MAX_COORDINATES // (3 * largest), 1, MAX_SNAPSHOTS))
    if len(shots) > n_max:
        chosen = np.unique(np.linspace(0, len(shots) - 1, n_max).round().astype(int))
        shots = [shots[i] for i in chosen]
    return shots + last


def _title(data: RunReportData, label: LabelRow) -> str:
    parts = [f"label {label.index}", theme.reason_name(label.reason)]
    if len(data.trajectories) > 1:
        parts.append(f"trajectory {label.trajectory + 1}")
    if np.isfinite(label.time_fs):
        parts.append(f"{label.time_fs / 1000:.3g} ps")
    if label.energy_error is not None:
        parts.append(f"energy error {1000 * label.energy_error:+.3g} meV")
    return " · ".join(parts)


def _color(number: int) -> str:
    return to_hex(np.minimum(jmol_colors[number], 0.93))


def structure_data(data: RunReportData) -> dict[str, Any] | None:
    """Return what the script draws; None if there is no structure.

    Elements come with colour and covalent radius (Å). Each snapshot has its elements' places in
    that list, flat positions (Å, wrapped into the cell along periodic directions) and the flat
    cell, None without periodicity.
    """
    shots = snapshots(data)
    if not shots:
        return None
    numbers = sorted({int(z) for shot in shots for z in shot.atoms.numbers})
    place = {z: i for i, z in enumerate(numbers)}
    frames = []
    for shot in shots:
        atoms, periodic = shot.atoms, bool(shot.atoms.pbc.any())
        positions = atoms.get_positions(wrap=periodic, eps=0.002)
        frames.append(
            {
                "title": shot.title,
                "kinds": [place[int(z)] for z in atoms.numbers],
                "xyz": np.round(positions, 2).ravel().tolist(),
                "cell": np.round(atoms.cell.array, 3).ravel().tolist() if periodic else None,
            }
        )
    elements = [
        {"symbol": chemical_symbols[z], "color": _color(z), "radius": float(covalent_radii[z])}
        for z in numbers
    ]
    return {"elements": elements, "frames": frames}


def draw_structure(data: RunReportData) -> Figure | None:
    """Draw the first and the last configuration side by side."""
    shots = snapshots(data)
    if not shots:
        return None
    shown = [shots[0], shots[-1]] if len(shots) > 1 else shots
    figure = Figure(figsize=(4.5 * len(shown), 4.5), layout="constrained")
    for axes, shot in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        plot_atoms(shot.atoms, axes, rotation="-75x,15y,5z", radii=0.5)
        axes.set_axis_off()
        axes.set_title(shot.title, fontsize=10)
    return figure
