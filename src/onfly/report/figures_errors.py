"""Figures about the labels: how many, when, and how wrong the model was at each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onfly.analysis.metrics import rmse
from onfly.report import theme
from onfly.report.plot import Drawing, Plot, whole_numbers
from onfly.report.records import LabelRow
from onfly.report.run_data import RunReportData

__all__ = ["comparison", "energy_errors", "fair_sample", "force_errors", "labels_over_time"]


def fair_sample(data: RunReportData) -> tuple[tuple[LabelRow, ...], str]:
    """Return the labels to compare the models on, and what they are.

    Those of the latest closing block are errors of one and the same model; other audits are those
    of a model that was learning.
    """
    if data.closing:
        return data.closing, f"audits of closing block {(data.closing[-1].attempt or 0) + 1}"
    if data.audits:
        return data.audits, "audits of the run"
    return data.judged, "labels that the model asked for"


def comparison(data: RunReportData) -> Drawing | None:
    """Errors of the foundation model and of the tuned model against the tolerance."""
    sample, name = fair_sample(data)
    both = [x for x in sample if x.foundation_error is not None]
    if not both:
        return None
    forces = [x for x in both if None not in (x.force_rmse, x.foundation_force_rmse)]
    plot = Plot("comparison", (110, 95) if forces else (110,), share=False)
    rows = [
        (
            "energy error (meV per cell)",
            [1000 * abs(x.foundation_error or 0.0) for x in both],
            [1000 * abs(x.energy_error or 0.0) for x in both],
            1000 * data.threshold,
        )
    ]
    if forces:
        limit = data.tolerance("force")
        rows.append(
            (
                "force error (meV/Å)",
                [1000 * (x.foundation_force_rmse or 0.0) for x in forces],
                [1000 * (x.force_rmse or 0.0) for x in forces],
                float("nan") if limit is None else 1000 * limit,
            )
        )
    for axes, (label, before, after, tolerance) in zip(plot.panels, rows, strict=True):
        top = 1.25 * max(*before, *after, tolerance if np.isfinite(tolerance) else 0.0)
        for y, values, color in ((1, before, theme.FOUNDATION), (0, after, theme.MODEL)):
            mean = rmse(values)
            axes.barh(y, mean, height=0.62, color=color, alpha=0.85)
            plot.points(
                axes, values, np.linspace(y - 0.22, y + 0.22, len(values)), "", theme.INK, ".",
                markersize=4, markeredgewidth=0, alpha=0.45,
            )  # fmt: skip
            axes.annotate(
                f"{mean:.3g}", (max(mean, *values), y), xytext=(6, 0), va="center",
                textcoords="offset points", fontweight="bold", color=theme.INK,
            )  # fmt: skip
        if np.isfinite(tolerance):
            plot.limit(axes, tolerance, f"tolerance {tolerance:.3g}", axis="x")
        axes.set(yticks=[1, 0], ylim=(-0.5, 1.95), xlim=(0, top), xlabel=label)
        axes.set_yticklabels(["foundation\nmodel", "fine-tuned"])
        axes.grid(visible=False, axis="y")
    return plot.finish(
        "Is the fine-tuned model good enough?",
        f"Bars and numbers: root mean square error at the {len(both)} {name}; dots: "
        "each of them. Both models see the same structures, and each error is that before the "
        "label was learned.",
        legend=False,
    )


def _reasons(labels: Sequence[LabelRow]) -> list[tuple[str, str, str, list[int]]]:
    """Name, colour, marker and places of the labels of each reason that occurs."""
    known = [(theme.REASONS[r], [i for i, x in enumerate(labels) if x.reason == r]) for r in
             theme.REASON_ORDER]  # fmt: skip
    return [(*look, places) for look, places in known if places]


def _time_axis(plot: Plot, data: RunReportData) -> None:
    if (limits := data.axis_limits) is not None:
        plot.panels[-1].set_xlim(limits)


def _before(data: RunReportData) -> str:
    """Say what lies below 0, if something does."""
    return " Left of 0: MD on the foundation model." if data.axis_range[0] < 0 else ""


def labels_over_time(data: RunReportData) -> Drawing | None:
    """Cumulative number of labels over simulated time (the paper's figure 5d)."""
    if not data.labels:
        return None
    place = data.label_axis(data.labels)
    order = np.argsort(place, kind="stable")
    labels, x = [data.labels[i] for i in order], place[order]
    count = np.arange(1, len(labels) + 1)
    paid = np.cumsum([not label.is_audit for label in labels])
    ends = np.append(x, max(data.axis_range[1], x[-1]))
    plot = Plot("labels", xlabel=data.axis_label)
    axes = plot.panel
    options: dict[str, Any] = {"drawstyle": "steps-post"}
    axes.plot(ends, np.append(count, count[-1]), color=theme.MUTED, lw=1, label="all", **options)
    axes.plot(
        ends, np.append(paid, paid[-1]), color=theme.MODEL, lw=2, label="without audits", **options
    )
    for name, color, marker, places in _reasons(labels):
        texts = [f"label {labels[i].index}, step {labels[i].step}: {name}" for i in places]
        plot.points(axes, x[places], count[places], name, color, marker, texts)
    axes.set(ylabel="number of labels", ylim=(0, 1.06 * len(labels) + 0.5))
    whole_numbers(axes.yaxis)
    _time_axis(plot, data)
    return plot.finish(
        "Did the calls for reference calculations stop?",
        "Each label is one expensive reference calculation. A blue line that becomes flat "
        "means that the model asks for no more labels. Audits are labels at random steps, "
        "which go on all the time. They are the proof; the flat line alone is not." + _before(data),
    )


def _errors(
    plot: Plot, data: RunReportData, labels: Sequence[LabelRow], own: np.ndarray,
    before: np.ndarray, unit: str,
) -> None:  # fmt: skip
    """Draw errors of both models on a logarithmic axis, tied where the structure is the same."""
    axes, x = plot.panel, data.label_axis(list(labels))
    axes.vlines(x, own, before, color="#9aa5b1", lw=0.8, linestyle=":")
    texts = [f"label {k.index}: {v:.3g} {unit}" for k, v in zip(labels, before, strict=True)]
    known = np.isfinite(before)
    if known.any():
        plot.points(
            axes, x[known], before[known], "before fine-tuning", theme.FOUNDATION, "o",
            [t for t, k in zip(texts, known, strict=True) if k],
            markerfacecolor="none", markeredgecolor=theme.FOUNDATION, markeredgewidth=1.2,
        )  # fmt: skip
    for name, color, marker, places in _reasons(labels):
        texts = [f"label {labels[i].index}, {name}: {own[i]:.3g} {unit}" for i in places]
        plot.points(axes, x[places], own[places], name, color, marker, texts)
    _time_axis(plot, data)


def energy_errors(data: RunReportData) -> Drawing | None:
    """Energy error before learning, next to the foundation model's on the same structures."""
    labels = data.judged
    if not labels:
        return None
    threshold = 1000 * data.threshold
    floor = 1e-3 * threshold  # a logarithmic axis has no place for 0
    own = np.maximum([1000 * abs(x.energy_error or 0.0) for x in labels], floor)
    before = [np.nan if x.foundation_error is None else x.foundation_error for x in labels]
    plot = Plot("energy-errors", (250,), xlabel=data.axis_label)
    _errors(plot, data, labels, own, np.maximum(1000 * np.abs(before), floor), "meV")
    plot.panel.set_ylabel("|energy error| (meV per cell)")
    plot.limit(plot.panel, threshold, f"tolerance {threshold:.3g} meV")
    plot.logarithmic(plot.panel)
    return plot.finish(
        "How wrong was the energy, before each label was learned?",
        "Points below the red line are good. Only audits (at random steps) are an unbiased "
        "sample; the others were chosen because the model was unsure. Open circles: the model "
        "before fine-tuning, on the same structures, shifted so that it agrees on the first one.",
    )


def force_errors(data: RunReportData) -> Drawing | None:
    """Force RMSE before learning, next to the foundation model's."""
    labels = [label for label in data.labels if label.force_rmse is not None]
    if not labels:
        return None
    own = np.array([1000 * (x.force_rmse or 0.0) for x in labels])
    before = np.array(
        [np.nan if (f := x.foundation_force_rmse) is None else 1000 * f for x in labels]
    )
    plot = Plot("force-errors", (250,), xlabel=data.axis_label)
    _errors(plot, data, labels, own, before, "meV/Å")
    plot.panel.set_ylabel("force error, RMSE (meV/Å)")
    if (limit := data.tolerance("force")) is not None:
        plot.limit(plot.panel, 1000 * limit, f"tolerance {1000 * limit:.3g} meV/Å")
    plot.logarithmic(plot.panel)
    return plot.finish(
        "How wrong were the forces?",
        "Root mean square over all force components of one structure, before it was learned.",
    )
