"""What a figure shows, apart from how it is drawn.

A figure is described once and drawn twice: by plotly for the page and by matplotlib for the PNG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Band", "Bars", "Figure", "Heat", "Line", "Panel", "Points", "Reference"]

Dash = Literal["solid", "dash", "dot"]
Symbol = Literal["circle", "circle-open", "diamond", "x", "square", "triangle", "tick"]


@dataclass(frozen=True)
class Line:
    """A line; ``step`` holds each value until the next."""

    x: np.ndarray
    y: np.ndarray
    name: str
    color: str
    width: float = 1.6
    dash: Dash = "solid"
    step: bool = False
    legend: bool = True


@dataclass(frozen=True)
class Points:
    """Markers, with optional lower and upper ends of error bars and one hover text for each."""

    x: np.ndarray
    y: np.ndarray
    name: str
    color: str
    symbol: Symbol = "circle"
    size: float = 8
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    text: Sequence[str] | None = None
    legend: bool = True


@dataclass(frozen=True)
class Band:
    """The area between two curves."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    name: str
    color: str
    opacity: float = 0.18


@dataclass(frozen=True)
class Bars:
    """Vertical bars."""

    x: np.ndarray
    y: np.ndarray
    name: str
    color: str


@dataclass(frozen=True)
class Heat:
    """Values on a grid, ``z`` of shape (len(y), len(x))."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    name: str


@dataclass(frozen=True)
class Reference:
    """A labelled straight line across a panel, such as the threshold."""

    value: float
    label: str
    color: str
    axis: Literal["x", "y"] = "y"
    dash: Dash = "dash"


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    ylabel: str
    items: Sequence[Line | Points | Band | Bars | Heat]
    references: Sequence[Reference] = ()
    log: bool = False
    yrange: tuple[float, float] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Figure:
    """Panels above each other with one x axis, and the text that goes with them.

    Attributes
    ----------
    key
        Name of the element in the page and of the PNG file.
    title
        What it answers.
    note
        How to read it, for somebody who does not know machine learning.
    wide
        Whether it takes the full width of the page.
    integer_x
        Whether only whole numbers make sense on the x axis.
    xticks
        Places on the x axis and their texts, instead of numbers.
    """

    key: str
    title: str
    xlabel: str
    panels: Sequence[Panel]
    note: str = ""
    height: int = 360
    xrange: tuple[float, float] | None = None
    wide: bool = True
    integer_x: bool = False
    xticks: Sequence[tuple[float, str]] | None = None
