"""Draw figures with matplotlib, once: as SVG inside a page and as PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from onfly.report import theme

__all__ = ["WIDTH", "Drawing", "Plot", "save_png", "style", "svg_text", "thin", "whole_numbers"]

WIDTH = 480  # of every figure in points; a page scales them to its columns
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved."""
    return mpl.rc_context(
        {
            "font.size": 11,
            "axes.labelsize": 11,
            "axes.edgecolor": "#9aa5b1",
            "axes.labelcolor": theme.INK,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.unicode_minus": True,
            "grid.color": theme.GRID,
            "grid.linewidth": 0.8,
            "xtick.color": theme.INK,
            "ytick.color": theme.INK,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "lines.solid_capstyle": "round",
            "svg.fonttype": "none",  # texts stay texts: small, sharp and searchable
            "path.simplify_threshold": 0.3,
        }
    )


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: its question as title, and in words what to look for.

    Attributes
    ----------
    hover
        Identifier of a set of points to one text for each point.
    """

    key: str
    title: str
    note: str
    figure: Figure
    hover: dict[str, list[str]] = field(default_factory=dict)


class Plot:
    """One or more panels above each other.

    Parameters
    ----------
    heights
        Of the panels, in points.
    xlabel
        Of the last panel.
    share
        Whether the panels have one x axis.
    """

    def __init__(
        self, key: str, heights: Sequence[float] = (220,), xlabel: str = "", share: bool = True
    ) -> None:
        self.key = key
        self.hover: dict[str, list[str]] = {}
        self.figure = Figure(figsize=(WIDTH / 72, (sum(heights) + 60) / 72), layout="constrained")
        grid = self.figure.subplots(
            len(heights), 1, sharex=share, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        self.panels: list[Axes] = list(grid[:, 0])
        self.panels[-1].set_xlabel(xlabel)

    @property
    def panel(self) -> Axes:
        """The first panel."""
        return self.panels[0]

    def points(
        self,
        axes: Axes,
        x: Any,
        y: Any,
        name: str,
        color: str,
        marker: str = "o",
        texts: list[str] | None = None,
        **options: Any,
    ) -> None:
        """Draw points; `texts`, one for each, are shown under the pointer."""
        gid = f"{self.key}-points{len(self.hover)}"
        if texts is not None:
            self.hover[gid] = texts
        settings: dict[str, Any] = {
            "markersize": 6,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "zorder": 3,
        }
        axes.plot(
            x, y, linestyle="none", marker=marker, color=color, label=name, gid=gid,
            **(settings | options),
        )  # fmt: skip

    def limit(self, axes: Axes, value: float, text: str, axis: str = "y") -> None:
        """Draw a horizontal (or, for axis "x", vertical) line with a text at its end."""
        options: dict[str, Any] = {
            "color": theme.THRESHOLD,
            "linewidth": 1.2,
            "linestyle": (0, (5, 3)),
            "zorder": 2,
        }
        words: dict[str, Any] = {
            "color": theme.THRESHOLD,
            "fontsize": 10,
            "textcoords": "offset points",
        }
        halo: dict[str, Any] = {
            "boxstyle": "square,pad=0.1",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.8,
        }
        if axis == "y":
            axes.axhline(value, **options)
            if text:
                axes.annotate(
                    text, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 3),
                    ha="right", va="bottom", bbox=halo, **words,
                )  # fmt: skip
        else:
            axes.axvline(value, **options)
            axes.annotate(
                text, (value, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
                ha="left", va="top", bbox=halo, **words,
            )  # fmt: skip

    def logarithmic(self, axes: Axes) -> None:
        """Make the y axis logarithmic, with plain numbers, also over less than a decade."""
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if np.log10(high / low) < 0.8:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        elif np.log10(high / low) < 2.2:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())

    def finish(self, title: str, note: str, legend: bool = True, columns: int = 3) -> Drawing:
        """Add the legend and return the drawing."""
        entries: dict[str, Any] = {}
        for axes in self.panels:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                entries.setdefault(name, handle)
        if legend and entries:
            self.figure.legend(
                list(entries.values()), list(entries), loc="outside lower left", ncols=columns,
                handlelength=1.4, columnspacing=1.2, handletextpad=0.5,
            )  # fmt: skip
        return Drawing(self.key, title, note, self.figure, self.hover)


def thin(values: np.ndarray, always: np.ndarray, n_max: int = 500) -> np.ndarray:
    """Return indices of at most ``2 n_max`` points that keep each stretch's minimum and maximum.

    Parameters
    ----------
    values
        Shape (n,); NaN is never an extreme.
    always
        Indices that must stay.
    """
    n = values.size
    if n <= 2 * n_max:
        return np.arange(n)
    kept = [np.array([0, n - 1]), always]
    for part in np.array_split(np.arange(n), n_max):
        stretch = values[part]
        if np.isfinite(stretch).any():
            kept.append(part[[np.nanargmin(stretch), np.nanargmax(stretch)]])
    return np.unique(np.concatenate(kept))


def whole_numbers(axis: Axis) -> None:
    """Give an axis ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", integer=True))


def _lay_out(figure: Figure) -> None:
    """Place the panels once: else each format does it anew, and draws all once for nothing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        with mpl.rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
            figure.set_layout_engine(None)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    _lay_out(figure)
    figure.savefig(path, dpi=150, facecolor="white")


def svg_text(drawing: Drawing) -> str:
    """Return the figure as an SVG element for a page: scalable, with a text under each point."""
    _lay_out(drawing.figure)
    buffer = io.StringIO()
    # the salt keeps the identifiers of one page apart
    with mpl.rc_context({"svg.hashsalt": drawing.key}):
        drawing.figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", drawing.title)
    for child in list(root):
        if child.tag == f"{{{SVG}}}metadata" or child.find(f"{{{SVG}}}style") is not None:
            root.remove(child)
    for gid, texts in drawing.hover.items():
        _add_titles(root, gid, texts)
    _drop_names(root, text)
    for element in root.iter():
        for name in ("d", "x", "y", "transform"):
            if name in element.attrib:
                # a hundredth of a point is finer than any screen
                element.set(name, re.sub(r"(\d\.\d\d)\d+", r"\1", element.attrib[name]))
    return ElementTree.tostring(root, encoding="unicode")


def _add_titles(root: ElementTree.Element, gid: str, texts: list[str]) -> None:
    group = next((e for e in root.iter() if e.get("id") == gid), None)
    marks = [] if group is None else list(group.iter(f"{{{SVG}}}use"))
    if len(marks) == len(texts):  # markers outside the picture are not written
        for mark, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(mark, f"{{{SVG}}}title").text = text


def _drop_names(root: ElementTree.Element, text: str) -> None:
    """Remove identifiers that nothing refers to: they would occur in several figures of a page."""
    wanted = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    for element in root.iter():
        if element.get("id") not in wanted:
            element.attrib.pop("id", None)
