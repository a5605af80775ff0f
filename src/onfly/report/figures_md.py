"""Figures about the dynamics: temperature, energy, volume and the model's doubt over time."""

from __future__ import annotations

import numpy as np

from onfly.report import theme
from onfly.report.data import RunData, find_setting
from onfly.report.spec import Figure, Line, Panel, Points, Reference

__all__ = ["doubt", "md_history", "thin"]

MAX_POINTS = 3000


def thin(values: np.ndarray, always: np.ndarray, n_max: int = MAX_POINTS) -> np.ndarray:
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


def _interventions(data: RunData) -> np.ndarray:
    """Rows of the log at which a label was made for another reason than an audit."""
    steps = [label.md_step or 0 for label in data.labels if label.reason not in ("audit", None)]
    return np.flatnonzero(np.isin(data.thermo["step"], steps))


def md_history(data: RunData) -> Figure | None:
    """Temperature, energies and volume over time with the interventions marked."""
    thermo = data.thermo
    if not len(thermo.get("step", ())):
        return None
    rows = _interventions(data)
    x = data.axis(thermo["step"])
    reference = np.nanmedian(thermo["potential_energy"]) if x.size else 0.0
    quantities = [
        ("temperature (K)", [("temperature", "temperature", theme.CHAINS[5], 0.0, 1.0)], 1.0),
        (
            "energy (eV)",
            [
                ("potential_energy", "potential energy", theme.MODEL, reference, 1.0),
                ("total_energy", "total energy", theme.CHAINS[3], reference, 1.0),
            ],
            1.2,
        ),
        ("volume (Å³)", [("volume", "volume", theme.CHAINS[2], 0.0, 1.0)], 0.8),
    ]
    panels = []
    constant = ""
    for ylabel, curves, weight in quantities:
        items: list[Line | Points] = []
        for column, name, color, shift, factor in curves:
            values = factor * (thermo[column] - shift)
            if not np.isfinite(values).any():
                continue
            if column == "volume" and np.nanstd(values) < 1e-6 * np.nanmean(values):
                constant = f" The volume is constant, {np.nanmean(values):.1f} Å³."
                continue
            index = thin(values, rows)
            items.append(Line(x[index], values[index], name, color, width=1.1))
            if len(items) == 1 and rows.size:
                marks = Points(
                    x[rows], values[rows], "intervention", theme.INK, symbol="tick", size=9
                )
        if items:
            panels.append(Panel(ylabel, [*items, marks] if rows.size else items, weight=weight))
    if not panels:
        return None
    energy = (
        f" Energies are relative to {reference:.3f} eV, the median of the potential energy."
        if np.isfinite(reference)
        else ""
    )
    return Figure(
        key="md",
        title="What does the trajectory do?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=panels,
        note="Black ticks: steps at which the model asked for a reference calculation, whose "
        f"forces then moved the atoms.{energy}{constant}",
        height=180 + 150 * len(panels),
    )


def doubt(data: RunData) -> Figure | None:
    """Calibrated probability that the error exceeds the threshold, and the predicted std."""
    thermo = data.thermo
    if not len(thermo.get("step", ())):
        return None
    probability, std = 100 * thermo["probability"], 1000 * thermo["energy_std"]
    # a labelled step is logged with the label's energy; the doubt that led to it is in the label
    before = {label.md_step: label for label in data.labels}
    for row in np.flatnonzero(~np.isfinite(probability)):
        label = before.get(int(thermo["step"][row]))
        if label is not None and label.probability is not None:
            probability[row] = 100 * label.probability
            std[row] = 1000 * (label.predicted_std or np.nan)
    if not np.isfinite(probability).any() and not np.isfinite(std).any():
        return None
    x, rows = data.axis(thermo["step"]), _interventions(data)
    limit = 100 * float(find_setting(data.run.settings, "max_probability") or 0.05)
    panels = []
    if np.isfinite(probability).any():
        index = thin(probability, rows)
        panels.append(
            Panel(
                "risk (%)",
                [
                    Line(
                        x[index],
                        np.maximum(probability[index], 1e-3),
                        "risk that the error exceeds the threshold",
                        theme.MODEL,
                        width=1.1,
                    ),
                    Points(
                        x[rows],
                        np.maximum(probability[rows], 1e-3),
                        "intervention",
                        theme.INK,
                        symbol="tick",
                        size=9,
                    ),
                ],
                [Reference(limit, f"calls for help above {limit:g} %", theme.THRESHOLD)],
                log=True,
                weight=1.2,
            )
        )
    if np.isfinite(std).any():
        index = thin(std, rows)
        panels.append(
            Panel(
                "raw std (meV)",
                [
                    Line(
                        x[index],
                        np.maximum(std[index], 1e-6),
                        "predicted std of the energy, uncalibrated",
                        theme.CHAINS[4],
                        width=1.1,
                    )
                ],
                log=True,
            )
        )
    return Figure(
        key="doubt",
        title="How sure is the model, step by step?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=panels,
        note="The risk is the calibrated probability that the energy is wrong by more than the "
        "threshold. Where it crosses the red line a reference calculation is made.",
        height=180 + 140 * len(panels),
    )
