"""Draw figures as PNG files with matplotlib, without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import MultipleLocator

from onfly.report import theme
from onfly.report.spec import Band, Bars, Figure, Heat, Line, Panel, Points
from onfly.report.ticks import integer_step, panel_ticks

__all__ = ["draw_png", "save_png"]

SYMBOLS = {
    "circle": "o",
    "circle-open": "o",
    "diamond": "D",
    "x": "X",
    "square": "s",
    "triangle": "^",
    "tick": "|",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":"}
BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#e3eef7", "#7fb3d9", "#1f5f99"])


def save_png(figure: MplFigure, path: Path, dpi: int = 150) -> Path:
    """Write a matplotlib figure to a file."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=dpi)
    return path


def _item(axes: Axes, item: Line | Points | Band | Bars | Heat, label: str | None) -> None:
    if isinstance(item, Line):
        axes.plot(
            item.x,
            item.y,
            color=item.color,
            lw=item.width,
            ls=DASHES[item.dash],
            drawstyle="steps-post" if item.step else "default",
            label=label,
        )
    elif isinstance(item, Points):
        style: dict[str, Any] = {"marker": SYMBOLS[item.symbol], "ms": 0.8 * item.size, "ls": ""}
        if item.symbol == "circle-open":
            style |= {"mfc": "none", "mec": item.color, "mew": 1.2}
        elif item.symbol == "tick":
            style |= {"color": item.color, "mew": 1.2}
        else:
            style |= {"color": item.color, "mec": "white", "mew": 0.5}
        if item.low is not None and item.high is not None:
            spread = np.stack([item.y - item.low, item.high - item.y])
            axes.errorbar(item.x, item.y, yerr=spread, ecolor=item.color, label=label, **style)
        else:
            axes.plot(item.x, item.y, label=label, **style)
    elif isinstance(item, Band):
        axes.fill_between(
            item.x, item.low, item.high, color=item.color, alpha=item.opacity, lw=0, label=label
        )
    elif isinstance(item, Bars):
        axes.bar(item.x, item.y, color=item.color, label=label)
    else:
        axes.pcolormesh(item.x, item.y, item.z, cmap=BLUES, shading="nearest", rasterized=True)


def _panel(axes: Axes, panel: Panel, named: set[str]) -> None:
    if panel.log:
        axes.set_yscale("log")
    for item in panel.items:
        shown = getattr(item, "legend", True) and not isinstance(item, Heat)
        label = item.name if shown and item.name not in named else None
        if label:
            named.add(label)
        _item(axes, item, label)
    for reference in panel.references:
        style: dict[str, Any] = {"color": reference.color, "ls": DASHES[reference.dash], "lw": 1.3}
        if reference.axis == "y":
            axes.axhline(reference.value, **style)
            place = (0.995, reference.value)
            transform, align = axes.get_yaxis_transform(), ("right", "bottom")
        else:
            axes.axvline(reference.value, **style)
            place = (reference.value, 0.98)
            transform, align = axes.get_xaxis_transform(), ("left", "top")
        axes.text(
            *place,
            reference.label,
            transform=transform,
            ha=align[0],
            va=align[1],
            fontsize=8,
            color=reference.color,
        )
    if panel.log:
        ticks, texts = panel_ticks(panel)
        limits = axes.get_ylim()  # ticks outside the data must not widen the axis
        axes.set_yticks(ticks, texts)
        axes.minorticks_off()
        axes.set_ylim(limits)
    axes.set_ylabel(panel.ylabel)
    if panel.yrange is not None:
        axes.set_ylim(panel.yrange)
    axes.grid(color=theme.GRID, lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_png(spec: Figure) -> MplFigure:
    """Draw a figure with matplotlib; `save_png` writes it."""
    width = 9.0 if spec.wide else 6.0
    figure = MplFigure(figsize=(width, spec.height / 90), layout="constrained")
    grid = figure.subplots(
        len(spec.panels),
        1,
        sharex=True,
        squeeze=False,
        height_ratios=[panel.weight for panel in spec.panels],
    )
    named: set[str] = set()
    for axes, panel in zip(grid[:, 0], spec.panels, strict=True):
        _panel(axes, panel, named)
    grid[-1, 0].set_xlabel(spec.xlabel)
    if spec.integer_x:
        grid[-1, 0].xaxis.set_major_locator(MultipleLocator(integer_step(spec)))
    if spec.xticks is not None:
        grid[-1, 0].set_xticks([x for x, _ in spec.xticks], [text for _, text in spec.xticks])
    if spec.xrange is not None:
        grid[-1, 0].set_xlim(spec.xrange)
    figure.suptitle(spec.title, fontsize=11, x=0.01, ha="left", color=theme.INK)
    if named:
        figure.legend(
            loc="outside lower left", ncols=4 if spec.wide else 2, fontsize=8, frameon=False
        )
    return figure
