"""A turnable 3-D view of the structure and of the labelled configurations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.visualize.plot import plot_atoms
from matplotlib.figure import Figure as MplFigure

from onfly.report import theme
from onfly.report.data import RunData, to_atoms
from onfly.report.plotly_backend import LAYOUT

__all__ = ["Snapshot", "draw_structure", "draw_structure_png", "snapshots"]

MAX_SNAPSHOTS = 40
MAX_CLOUD = 8000


@dataclass(frozen=True)
class Snapshot:
    """One configuration with the text of its slider position."""

    title: str
    atoms: Atoms


def snapshots(data: RunData) -> list[Snapshot]:
    """Return the labelled configurations (at most 40, evenly chosen) and the last MD frame."""
    labels = data.labels
    if len(labels) > MAX_SNAPSHOTS:
        chosen = np.unique(np.linspace(0, len(labels) - 1, MAX_SNAPSHOTS).round().astype(int))
        labels = [labels[i] for i in chosen]
    result = []
    for label in labels:
        time = f"{data.time_ps(label.md_step or 0):.3g} ps" if data.has_clock else ""
        parts = [f"label {label.index}", theme.reason_name(label.reason), time]
        if label.error is not None:
            parts.append(f"energy error {1000 * label.error:+.3g} meV")
        result.append(
            Snapshot(
                " · ".join(part for part in parts if part),
                to_atoms(label.structure),
            )
        )
    if data.last_frame is not None:
        result.append(Snapshot("last frame of the MD", data.last_frame))
    return result


def _rgb(number: int) -> str:
    r, g, b = (255 * np.minimum(jmol_colors[number], 0.93)).astype(int)
    return f"rgb({r},{g},{b})"


def _display(atoms: Atoms) -> np.ndarray:
    """Positions to show: wrapped into the cell along periodic directions."""
    return atoms.get_positions(wrap=bool(atoms.pbc.any()), eps=0.02 / 10)


def _bonds(atoms: Atoms, positions: np.ndarray) -> np.ndarray:
    """Ends of the bonds inside the cell as broken lines, shape (3 n, 3)."""
    shown = Atoms(atoms.numbers, positions, cell=atoms.cell, pbc=False)
    i, j = neighbor_list("ij", shown, natural_cutoffs(shown, mult=1.2))
    pairs = i < j
    a, b = positions[i[pairs]], positions[j[pairs]]
    # a bond that ended in the middle of an atom would be drawn across its disc
    lines = np.stack([a + 0.2 * (b - a), b + 0.2 * (a - b), np.full(a.shape, np.nan)], axis=1)
    return lines.reshape(-1, 3)


def _cell(atoms: Atoms) -> np.ndarray:
    if not atoms.pbc.any():
        return np.empty((0, 3))
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    lines = [
        [a @ atoms.cell.array, b @ atoms.cell.array, [np.nan] * 3]
        for a in corners
        for b in corners
        if np.sum(b - a) == 1 and np.abs(b - a).sum() == 1
    ]
    return np.array(lines).reshape(-1, 3)


def _xyz(points: np.ndarray) -> dict[str, list[float | None]]:
    columns = np.round(points, 3).T.reshape(3, -1)
    return {
        axis: [None if np.isnan(v) else float(v) for v in column]
        for axis, column in zip("xyz", columns, strict=True)
    }


def draw_structure(data: RunData, height: int = 560) -> go.Figure | None:
    """Draw the configurations with a slider; None if there is no structure."""
    shots = snapshots(data)
    if not shots:
        return None
    scale = float(np.clip(70 / max(len(shots[0].atoms), 8) ** 0.5, 7, 20))
    start = len(shots) - 1
    coordinates, bonds, cells = [], [], []
    for shot in shots:
        positions = _display(shot.atoms)
        coordinates.append(positions)
        bonds.append(_bonds(shot.atoms, positions))
        cells.append(_cell(shot.atoms))
    figure = go.Figure()
    figure.add_trace(
        go.Scatter3d(
            **_xyz(bonds[start]),
            mode="lines",
            name="bonds",
            line={"color": "#9aa5b1", "width": 5},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter3d(
            **_xyz(cells[start]),
            mode="lines",
            name="cell",
            line={"color": theme.INK, "width": 2},
            hoverinfo="skip",
            showlegend=bool(len(cells[start])),
        )
    )
    # one trace for each element, for the legend
    numbers = shots[start].atoms.numbers
    groups = [np.flatnonzero(numbers == z) for z in np.unique(numbers)]
    for group in groups:
        z = int(numbers[group[0]])
        figure.add_trace(
            go.Scatter3d(
                **_xyz(coordinates[start][group]),
                mode="markers",
                name=chemical_symbols[z],
                text=[f"{chemical_symbols[z]} {i}" for i in group],
                hovertemplate="%{text}<br>%{x:.2f} %{y:.2f} %{z:.2f} Å<extra></extra>",
                marker={
                    "size": scale * (0.35 + 0.45 * covalent_radii[z]),
                    "color": _rgb(z),
                    "line": {"color": "#52606d", "width": 1},
                },
            )
        )
    same = [c for c in coordinates if len(c) == len(numbers)]
    cloud = np.concatenate(same)
    if len(same) > 1 and len(cloud) <= MAX_CLOUD:
        colors = [_rgb(int(z)) for _ in same for z in numbers]
        figure.add_trace(
            go.Scatter3d(
                **_xyz(cloud),
                mode="markers",
                name="all labelled configurations",
                marker={"size": 2.5, "color": colors, "opacity": 0.55},
                hoverinfo="skip",
                visible="legendonly",
            )
        )
    moving = list(range(2 + len(groups)))
    steps = []
    for shot, positions, lines, cell in zip(shots, coordinates, bonds, cells, strict=True):
        parts = [lines, cell, *(positions[group] for group in groups)]
        columns = [_xyz(part) for part in parts]
        steps.append(
            {
                "method": "restyle",
                "label": shot.title,
                "args": [{axis: [c[axis] for c in columns] for axis in "xyz"}, moving],
            }
        )
    hidden = {"visible": False, "showspikes": False}
    figure.update_layout(
        **LAYOUT,
        height=height,
        margin={"l": 0, "r": 0, "t": 30, "b": 20},
        scene={
            "xaxis": hidden,
            "yaxis": hidden,
            "zaxis": hidden,
            "aspectmode": "data",
            "camera": {
                "eye": {"x": 1.5, "y": 1.15, "z": 0.6},
                "center": {"x": 0, "y": 0, "z": -0.12},
            },
        },
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        sliders=[
            {
                "active": start,
                "steps": steps,
                "currentvalue": {"font": {"size": 14, "color": theme.INK}},
                # the names of all positions would overlap: only the present one is shown
                "font": {"size": 1, "color": "rgba(0,0,0,0)"},
                "ticklen": 4,
                "pad": {"t": 10, "b": 10, "l": 20, "r": 20},
                "len": 1.0,
            }
        ],
    )
    return figure


def draw_structure_png(data: RunData) -> MplFigure | None:
    """Draw the first and the last configuration side by side."""
    shots = snapshots(data)
    if not shots:
        return None
    shown = [shots[0], shots[-1]] if len(shots) > 1 else shots
    figure = MplFigure(figsize=(4.5 * len(shown), 4.5), layout="constrained")
    for axes, shot in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        plot_atoms(shot.atoms, axes, rotation="-75x,15y,5z", radii=0.5)
        axes.set_axis_off()
        axes.set_title(shot.title, fontsize=10)
    return figure
