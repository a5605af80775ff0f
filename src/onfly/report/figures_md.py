"""Figures about the dynamics: temperature, energy, volume and the model's doubt over time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onfly.report import theme
from onfly.report.plot import Drawing, Plot, thin
from onfly.report.records import TrajectoryData
from onfly.report.run_data import RunReportData

__all__ = ["doubt", "md_history"]


class Curve(NamedTuple):
    """A column of the log as it is drawn."""

    name: str
    color: str
    x: np.ndarray
    values: np.ndarray
    calls: np.ndarray  # rows at which the model asked for a label


def _moving(data: RunReportData) -> list[TrajectoryData]:
    return [t for t in data.trajectories if len(t.thermo.get("step", ()))]


def _calls(data: RunReportData, trajectory: TrajectoryData) -> np.ndarray:
    """Rows of the log at which a label was made for another reason than an audit."""
    steps = [
        label.step
        for label in data.labels
        if not label.is_audit and label.reason and label.trajectory == trajectory.index
    ]
    return np.flatnonzero(np.isin(trajectory.thermo["step"], steps))


def _curves(
    data: RunReportData, values: dict[int, np.ndarray], name: str, color: str
) -> list[Curve]:
    """One curve for each trajectory, named and coloured by it if there are several."""
    several = len(values) > 1
    result = []
    for trajectory in data.trajectories:
        found = values.get(trajectory.index)
        if found is None or not np.isfinite(found).any():
            continue
        if several:
            name = f"trajectory {trajectory.index + 1}"
            color = theme.CHAINS[trajectory.index % len(theme.CHAINS)]
        result.append(Curve(name, color, data.axis(trajectory), found, _calls(data, trajectory)))
    return result


def _draw(plot: Plot, panel: int, curves: list[Curve], ylabel: str, mark: bool = True) -> None:
    axes = plot.panels[panel]
    for curve in curves:
        index = thin(curve.values, curve.calls)
        axes.plot(curve.x[index], curve.values[index], color=curve.color, lw=0.9, label=curve.name)
        if mark and curve.calls.size:
            plot.points(
                axes, curve.x[curve.calls], curve.values[curve.calls],
                "call for a label", theme.INK, "|", markersize=9, markeredgecolor=theme.INK,
                markeredgewidth=1.1,
            )  # fmt: skip
    axes.set_ylabel(ylabel)


def _frame(plot: Plot, data: RunReportData) -> None:
    if (limits := data.axis_limits) is not None:
        plot.panels[-1].set_xlim(limits)
    for axes in plot.panels:
        for place in data.stage_marks():
            axes.axvline(place, color=theme.MUTED, lw=1, ls=":", zorder=1)
    plot.figure.align_ylabels()


def md_history(data: RunReportData) -> Drawing | None:
    """Temperature, energies and volume over time with the interventions marked."""
    moving = _moving(data)
    if not moving:
        return None

    def column(name: str, shift: float = 0.0) -> dict[int, np.ndarray]:
        return {t.index: t.thermo[name] - shift for t in moving}

    potential = np.concatenate([t.thermo["potential_energy"] for t in moving])
    reference = float(np.nanmedian(potential)) if np.isfinite(potential).any() else 0.0
    energies = _curves(data, column("potential_energy", reference), "potential energy", theme.MODEL)
    if len(moving) == 1:
        energies += _curves(
            data, column("total_energy", reference), "total energy", theme.CHAINS[3]
        )
    volumes = _curves(data, column("volume"), "volume", theme.CHAINS[2])
    words = ""
    everything = np.concatenate([c.values for c in volumes] or [np.empty(0)])
    if everything.size and np.nanstd(everything) < 1e-6 * np.nanmean(everything):
        volumes, words = [], f" The volume is constant, {np.nanmean(everything):.1f} Å³."
    temperatures = _curves(data, column("temperature"), "temperature", theme.CHAINS[5])
    rows = [
        (temperatures, "temperature (K)"),
        (energies, "energy (eV)"),
        (volumes, "volume (Å³)"),
    ]
    rows = [row for row in rows if row[0]]
    if not rows:
        return None
    plot = Plot("md", [120] * len(rows), data.axis_label)
    for k, (curves, label) in enumerate(rows):
        _draw(plot, k, curves, label)
    _frame(plot, data)
    stages = " Dotted: a new stage." if data.stage_marks().size else ""
    return plot.finish(
        "What does the trajectory do?" if len(moving) == 1 else "What do the trajectories do?",
        "Black ticks: steps at which the model asked for a reference calculation, whose "
        f"forces then moved the atoms.{stages} Energies are relative to {reference:.3f} eV, the "
        f"median of the potential energy.{words}",
    )


def _doubt(data: RunReportData, trajectory: TrajectoryData) -> tuple[np.ndarray, np.ndarray]:
    """Return the risk in % and the predicted std in meV at every logged step."""
    thermo = trajectory.thermo
    probability, std = 100 * thermo["probability"], 1000 * thermo["energy_std"]
    # a labelled step is logged with the label's energy; the doubt that led to it is in the label
    before = {label.step: label for label in data.labels if label.trajectory == trajectory.index}
    for row in np.flatnonzero(~np.isfinite(probability)):
        label = before.get(int(thermo["step"][row]))
        if label is not None and label.probability is not None:
            probability[row] = 100 * label.probability
            std[row] = 1000 * (label.predicted_std or np.nan)
    # a logarithmic axis has no place for 0
    return np.maximum(probability, 1e-3), np.maximum(std, 1e-6)


def doubt(data: RunReportData) -> Drawing | None:
    """Calibrated probability that the error exceeds the threshold, and the predicted std."""
    both = {t.index: _doubt(data, t) for t in _moving(data)}
    risks = _curves(data, {k: v[0] for k, v in both.items()}, "risk", theme.MODEL)
    stds = _curves(data, {k: v[1] for k, v in both.items()}, "predicted std", theme.CHAINS[4])
    rows = [row for row in ((risks, "risk (%)"), (stds, "raw std (meV)")) if row[0]]
    if not rows:
        return None
    plot = Plot("doubt", [150, 130][: len(rows)], data.axis_label)
    for k, (curves, label) in enumerate(rows):
        _draw(plot, k, curves, label, mark=label.startswith("risk"))
        if label.startswith("risk"):
            limit = 100 * data.max_probability
            plot.limit(plot.panels[k], limit, f"asks for a label above {limit:g} %")
        plot.logarithmic(plot.panels[k])
    _frame(plot, data)
    return plot.finish(
        "How sure is the model, step by step?",
        "The risk is the calibrated probability that the energy is wrong by more than the "
        "tolerance. Where it crosses the red line a reference calculation is made. Below: the "
        "predicted standard deviation of the energy, before calibration.",
    )
