"""Properties of the crystal: numbers as a table, deviations and phonon bands as figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from onfly.report import theme
from onfly.report.plot import Drawing, Plot
from onfly.schemas.properties import PropertiesDoc, PropertyDoc

__all__ = ["bands", "deviations", "property_rows"]

NONE = "–"
NAMES = {
    "eos": "Equation of state",
    "elastic": "Elastic constants",
    "phonon": "Phonons",
    "md": "Molecular dynamics",
}


def property_rows(properties: PropertiesDoc) -> list[dict[str, str]]:
    """Return a row of texts for each number."""
    rows = []
    for measured in properties.properties:
        for value in measured.values:
            numbers = {
                "value": value.value,
                "std": value.std,
                "foundation": value.foundation,
                "labeller": value.labeller,
                "z": value.z,
            }
            cells = {k: NONE if v is None else f"{v:.4g}" for k, v in numbers.items()}
            name = NAMES.get(measured.kind, measured.kind)
            rows.append({"property": name, "name": value.name, "unit": value.unit} | cells)
    return rows


def deviations(properties: PropertiesDoc) -> Drawing | None:
    """Draw how far model and foundation are from the labeller, or the model from the foundation.

    In percent; energies, whose zero is arbitrary, are left out.
    """
    known = any(v.labeller is not None for p in properties.properties for v in p.values)
    reference = "labeller" if known else "foundation"
    found: list[tuple[str, float, float, float | None]] = []
    for measured in properties.properties:
        for value in measured.values:
            base = getattr(value, reference)
            # of numbers near zero, such as the diffusion in a crystal, a share says nothing
            if value.value is None or not base or value.name.startswith(("E0", "D ")):
                continue
            beside = None
            if known and value.foundation is not None:
                beside = 100 * (value.foundation - base) / abs(base)
            found.append(
                (
                    value.name,
                    100 * (value.value - base) / abs(base),
                    100 * (value.std or 0.0) / abs(base),
                    beside,
                )
            )
    if not found:
        return None
    plot = Plot("properties", [230])
    axes = plot.panel
    x = np.arange(len(found))
    axes.axhline(0.0, color=theme.THRESHOLD, linewidth=1.2, linestyle=(0, (5, 3)))
    before = [(i, row[3]) for i, row in enumerate(found) if row[3] is not None]
    if before:
        place, height = zip(*before, strict=True)
        plot.points(axes, place, height, "foundation", theme.FOUNDATION, "s")
    values, stds = np.array([row[1] for row in found]), np.array([row[2] for row in found])
    axes.errorbar(
        x, values, stds, fmt="none", ecolor=theme.MODEL, elinewidth=1.2, capsize=3, zorder=2
    )
    texts = [f"{n}: {v:+.2f} ± {s:.2f} %" for n, v, s, _ in found]
    plot.points(axes, x, values, "model", theme.MODEL, "o", texts)
    axes.set_xticks(x, [row[0] for row in found], rotation=60, ha="right", fontsize=8)
    axes.set_ylabel(f"off the {reference} (%)")
    bars = "Bars: the interval that should hold the labeller's value in 68 % of cases."
    return plot.finish("Does the model get the properties right?", bars)


def bands(properties: PropertiesDoc) -> Drawing | None:
    """Draw the phonon bands of the model with their error bars, and of the others."""
    measured = properties.of("phonon")
    if measured is None or "model" not in measured.curves:
        return None
    plot = Plot("phonon-bands", [230])
    axes = plot.panel
    own = measured.curves["model"]
    for name, color, style in (
        ("foundation", theme.FOUNDATION, ":"),
        ("labeller", theme.INK, "--"),
    ):
        if name in measured.curves:
            _lines(axes, measured.curves[name], name, color, style)
    _lines(axes, own, "model", theme.MODEL, "-")
    _shade(axes, measured)
    for tick in own["ticks"]:
        axes.axvline(tick, color=theme.GRID, linewidth=0.8)
    axes.set_xticks([])
    axes.set_xlim(0.0, max(own["path"]))
    axes.set_ylabel("frequency (THz)")
    note = (
        "Along the special points of the Brillouin zone, without the splitting of polar crystals "
        "at long wavelengths. Negative: imaginary, the crystal is unstable."
    )
    return plot.finish("Which vibrations does the crystal have?", note)


def _lines(axes: Axes, curves: dict[str, Any], name: str, color: str, style: str) -> None:
    found = np.array(curves["bands"], dtype=float)
    x = np.linspace(0.0, 1.0, len(found))
    path = np.array(curves["path"], dtype=float)
    x = path if len(path) == len(found) else x * path.max()
    for number, band in enumerate(found.T):
        axes.plot(x, band, style, color=color, lw=1.1, label=name if number == 0 else None)


def _shade(axes: Axes, measured: PropertyDoc) -> None:
    own = measured.curves["model"]
    std = measured.curves.get("std", {}).get("bands")
    if std is None:
        return
    middle, half = np.array(own["bands"], dtype=float), np.array(std, dtype=float)
    for band, width in zip(middle.T, half.T, strict=True):
        axes.fill_between(
            own["path"], band - width, band + width, color=theme.MODEL, alpha=0.2, lw=0
        )
