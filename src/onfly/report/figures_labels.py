"""Figures about the labels: how many, when, and how wrong the model was at each."""

from __future__ import annotations

import numpy as np

from onfly.report import theme
from onfly.report.data import RunData
from onfly.report.spec import Figure, Line, Panel, Points, Reference
from onfly.schemas.label import LabelDoc

__all__ = ["energy_errors", "force_errors", "labels_over_time"]


def _steps(labels: list[LabelDoc]) -> np.ndarray:
    return np.array([label.md_step or 0 for label in labels], dtype=float)


def labels_over_time(data: RunData) -> Figure | None:
    """Cumulative number of labels over simulated time (the paper's figure 5d)."""
    if not data.labels:
        return None
    labels = sorted(data.labels, key=lambda label: label.md_step or 0)
    steps = _steps(labels)
    count = np.arange(1, len(labels) + 1, dtype=float)
    paid = np.array([label.reason != "audit" for label in labels])
    end = max(data.n_steps, steps[-1])
    items: list[Line | Points] = [
        Line(
            data.axis(np.append(steps, end)),
            np.append(count, count[-1]),
            "all labels",
            theme.MUTED,
            width=1.2,
            step=True,
        ),
        Line(
            data.axis(np.append(steps, end)),
            np.append(np.cumsum(paid), paid.sum()).astype(float),
            "without audits",
            theme.MODEL,
            width=2.4,
            step=True,
        ),
    ]
    for reason in theme.REASON_ORDER:
        mask = np.array([label.reason == reason for label in labels])
        if mask.any():
            name, color, symbol = theme.REASONS[reason]
            items.append(
                Points(
                    data.axis(steps[mask]),
                    count[mask],
                    name,
                    color,
                    symbol=symbol,  # type: ignore[arg-type]
                    text=[f"label {labels[i].index}" for i in np.flatnonzero(mask)],
                )
            )
    return Figure(
        key="labels",
        title="Did the calls for reference calculations stop?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=[Panel("number of labels", items, yrange=(0, 1.06 * len(labels) + 0.5))],
        note="Each label is one expensive reference calculation. A blue line that becomes flat "
        "means that the model no longer asks for help. Audits are random checks that go on "
        "all the time: they are the proof, the flat line alone is not.",
    )


def _stems(x: np.ndarray, low: np.ndarray, high: np.ndarray, name: str, color: str) -> Line:
    """Vertical lines between pairs of points, as one broken line."""
    gap = np.full(x.size, np.nan)
    return Line(
        np.stack([x, x, gap], axis=1).ravel(),
        np.stack([low, high, gap], axis=1).ravel(),
        name,
        color,
        width=1,
        dash="dot",
        legend=False,
    )


def _by_reason(
    data: RunData, labels: list[LabelDoc], values: np.ndarray, unit: str
) -> list[Line | Points]:
    items: list[Line | Points] = []
    x = data.axis(_steps(labels))
    for reason in theme.REASON_ORDER:
        index = [i for i, label in enumerate(labels) if label.reason == reason]
        if index:
            name, color, symbol = theme.REASONS[reason]
            items.append(
                Points(
                    x[index],
                    values[index],
                    f"fine-tuned, {name}",
                    color,
                    symbol=symbol,  # type: ignore[arg-type]
                    text=[f"label {labels[i].index}: {values[i]:.3g} {unit}" for i in index],
                )
            )
    return items


def energy_errors(data: RunData) -> Figure | None:
    """Energy error before learning, next to the foundation model's on the same structures."""
    labels = data.judged_labels
    if not labels:
        return None
    threshold = 1000 * data.run.threshold_ev
    floor = 1e-3 * threshold  # a logarithmic axis has no place for 0
    own = np.maximum(1000 * np.abs([label.error or 0.0 for label in labels]), floor)
    items = _by_reason(data, labels, own, "meV")
    known = [i for i, label in enumerate(labels) if label.foundation_energy is not None]
    if known:
        x = data.axis(_steps(labels))[known]
        foundation = np.array(
            [1000 * abs((labels[i].foundation_energy or 0.0) - labels[i].energy) for i in known]
        )
        foundation = np.maximum(foundation, floor)
        items.insert(
            0,
            Points(
                x, foundation, "before fine-tuning", theme.FOUNDATION, symbol="circle-open", size=7
            ),
        )
        items.insert(0, _stems(x, own[known], foundation, "same structure", "#cbd2d9"))
    return Figure(
        key="energy-errors",
        title="How wrong was the energy, before each label was learned?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=[
            Panel(
                "|energy error| (meV per cell)",
                items,
                [Reference(threshold, f"threshold {threshold:.3g} meV", theme.THRESHOLD)],
                log=True,
            )
        ],
        note="Points below the red line are good. Only the green diamonds (audits at random "
        "steps) are an unbiased sample; the others were chosen because the model was unsure. "
        "Open circles: the model before fine-tuning, on the same structures, shifted so that it "
        "agrees on the first one.",
        height=420,
    )


def force_errors(data: RunData) -> Figure | None:
    """Force RMSE before learning, next to the foundation model's."""
    labels = [label for label in data.labels if label.force_rmse is not None]
    if not labels:
        return None
    own = np.array([1000 * (label.force_rmse or 0.0) for label in labels])
    items = _by_reason(data, labels, own, "meV/Å")
    known = [i for i, label in enumerate(labels) if label.foundation_force_rmse is not None]
    if known:
        x = data.axis(_steps(labels))[known]
        foundation = np.array([1000 * (labels[i].foundation_force_rmse or 0.0) for i in known])
        items.insert(
            0,
            Points(
                x, foundation, "before fine-tuning", theme.FOUNDATION, symbol="circle-open", size=7
            ),
        )
        items.insert(0, _stems(x, own[known], foundation, "same structure", "#cbd2d9"))
    return Figure(
        key="force-errors",
        title="How wrong were the forces?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=[Panel("force error, RMSE (meV/Å)", items, log=True)],
        note="Root mean square over all force components of one structure, before it was learned.",
        height=360,
    )
