"""Figures about learning: the chains of every update and how far the weights have moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onfly.report import theme
from onfly.report.plot import Drawing, Plot, whole_numbers
from onfly.report.run_data import RunReportData

__all__ = ["chain_history", "drift"]

MAX_POINTS = 800
QUANTITIES = (("log_likelihood", "log-likelihood"), ("log_prior", "log-prior"))


def _series(chain: Mapping[str, Any], name: str, n: int) -> np.ndarray:
    values = np.array([np.nan if v is None else v for v in chain.get(name) or []], dtype=float)
    return values if values.size == n else np.full(n, np.nan)


def _robust_range(settled: np.ndarray) -> tuple[float, float] | None:
    """Range of an axis that the first steps after a surprise, far below, do not spoil."""
    finite = settled[np.isfinite(settled)]
    if finite.size == 0:
        return None
    low, middle, high = np.quantile(finite, [0.02, 0.5, 1.0])
    reach = max(high - low, 1e-3 * abs(middle), 1e-6)
    return float(low - 0.15 * reach), float(high + 0.08 * reach)


def chain_history(data: RunReportData) -> Drawing | None:
    """Log-likelihood and log-prior of all chains over all updates, one after another."""
    curves: dict[tuple[int, str], list[np.ndarray]] = {}
    settled: dict[str, list[np.ndarray]] = {name: [] for name, _ in QUANTITIES}
    offset = 0.0
    for training in data.trainings:
        longest = 0.0
        for number, chain in enumerate(training.chains):
            step = np.asarray(chain.get("step") or [], dtype=float)
            if step.size == 0:
                continue
            longest = max(longest, float(step[-1]) + 1)
            # NaN breaks the line between two updates
            curves.setdefault((number, "x"), []).append(np.append(step + offset, np.nan))
            for name, _ in QUANTITIES:
                values = _series(chain, name, step.size)
                curves.setdefault((number, name), []).append(np.append(values, np.nan))
                settled[name].append(values[step.size // 4 :])
        offset += longest
    whole = {key: np.concatenate(parts) for key, parts in curves.items()}
    numbers = sorted({number for number, _ in whole})
    shown = [
        (name, label)
        for name, label in QUANTITIES
        if any(np.isfinite(whole[k, name]).any() for k in numbers)
    ]
    if not shown:
        return None
    n_updates = len(data.trainings)
    plot = Plot("chains", [130] * len(shown), f"sampler step ({n_updates} updates in a row)")
    for axes, (name, label) in zip(plot.panels, shown, strict=True):
        for number in numbers:
            x, y = whole[number, "x"], whole[number, name]
            keep = np.arange(x.size)
            keep = keep[(keep % max(1, x.size // MAX_POINTS) == 0) | ~np.isfinite(x)]
            color = theme.CHAINS[number % len(theme.CHAINS)]
            axes.plot(x[keep], y[keep], color=color, lw=0.9, label=f"chain {number + 1}")
        axes.set_ylabel(label)
        if (ends := _robust_range(np.concatenate(settled[name]))) is not None:
            axes.set_ylim(*ends)
    plot.figure.align_ylabels()
    several = (
        "Several chains learn independently of each other; where they disagree, the model is "
        "unsure. "
    )
    return plot.finish(
        "Did the model learn at each update?",
        (several if len(numbers) > 1 else "")
        + "Likelihood: how well the labels are reproduced (up is better; it drops when a "
        "surprising label is added, sometimes below the axis). Prior: how close the weights stay "
        "to the foundation model.",
        legend=len(numbers) > 1,
        columns=4,
    )


def drift(data: RunReportData) -> Drawing | None:
    """Distance of the weights from the foundation model after each update."""
    rows = [
        (label, color, [(t.generation, v) for t in data.trainings if (v := read(t)) is not None])
        for label, color, read in (
            ("drift (prior std)", theme.MODEL, lambda t: t.drift),
            ("time of update (s)", theme.CHAINS[5], lambda t: t.seconds),
        )
    ]
    rows = [row for row in rows if row[2]]
    if not rows:
        return None
    plot = Plot("drift", [130] * len(rows), "update")
    for axes, (label, color, pairs) in zip(plot.panels, rows, strict=True):
        x, y = np.array(pairs, dtype=float).T
        axes.plot(x, y, color=color, lw=1.2)
        texts = [f"update {int(a)}: {b:.3g}" for a, b in zip(x, y, strict=True)]
        plot.points(axes, x, y, label, color, "o", texts)
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.12 * max(float(y.max()), 1e-12))
        whole_numbers(axes.xaxis)
    plot.figure.align_ylabels()
    return plot.finish(
        "How far did the weights move?",
        "Root mean square change of all weights since the foundation model, in units of "
        "the change that the prior allows. Well below 1: what the foundation model knew is kept.",
        legend=False,
    )
