"""Figures about learning: the chains of every update and how far the weights have moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from onfly.report import theme
from onfly.report.data import RunData
from onfly.report.spec import Figure, Line, Panel, Points

__all__ = ["chain_history", "drift"]

MAX_POINTS = 1500


def _series(chain: dict[str, Any], name: str, n: int) -> np.ndarray:
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


def chain_history(data: RunData) -> Figure | None:
    """Log-likelihood and log-prior of all chains over all updates, one after another."""
    ends_of: dict[str, list[np.ndarray]] = {"log_likelihood": [], "log_prior": []}
    curves: dict[tuple[int, str], list[np.ndarray]] = {}
    offset, ends = 0.0, []
    for record in data.training:
        chains = record.get("chains") or []
        longest = 0.0
        for number, chain in enumerate(chains):
            step = np.asarray(chain.get("step") or [], dtype=float)
            if step.size == 0:
                continue
            longest = max(longest, float(step[-1]) + 1)
            curves.setdefault((number, "x"), []).append(np.append(step + offset, np.nan))
            for name in ("log_likelihood", "log_prior", "step_size"):
                values = np.append(_series(chain, name, step.size), np.nan)
                curves.setdefault((number, name), []).append(values)
                if name in ends_of:
                    ends_of[name].append(values[step.size // 4 :])
        offset += longest
        ends.append(offset)
    numbers = sorted({number for number, _ in curves})
    if not numbers:
        return None
    panels = []
    for name, label in (("log_likelihood", "log-likelihood"), ("log_prior", "log-prior")):
        items = []
        for number in numbers:
            x, y = (np.concatenate(curves[number, key]) for key in ("x", name))
            stride = max(1, x.size // MAX_POINTS)
            keep = np.arange(x.size)
            keep = keep[(keep % stride == 0) | ~np.isfinite(x)]
            if np.isfinite(y).any():
                color = theme.CHAINS[number % len(theme.CHAINS)]
                items.append(Line(x[keep], y[keep], f"chain {number + 1}", color, width=1.1))
        if items:
            settled = np.concatenate(ends_of[name]) if ends_of[name] else np.empty(0)
            panels.append(Panel(label, items, yrange=_robust_range(settled)))
    if not panels:
        return None
    return Figure(
        key="chains",
        title="Did the model learn at each update?",
        xlabel=f"sampler step ({len(ends)} updates one after another)",
        panels=panels,
        note="Several chains learn independently of each other; where they disagree, the model is "
        "unsure. Likelihood: how well the labels are reproduced (up is better; it drops when a "
        "surprising label is added, sometimes below the axis). Prior: how close the weights stay "
        "to the foundation model.",
        height=180 + 150 * len(panels),
    )


def drift(data: RunData) -> Figure | None:
    """Distance of the weights from the foundation model after each update."""
    known = [r for r in data.training if r.get("generation") is not None]
    with_drift = [r for r in known if r.get("drift") is not None]
    with_time = [r for r in known if r.get("seconds") is not None]
    panels = []
    for records, name, label, color in (
        (with_drift, "drift", "drift (prior std)", theme.MODEL),
        (with_time, "seconds", "time of update (s)", theme.CHAINS[5]),
    ):
        if records:
            x = np.array([r["generation"] for r in records], dtype=float)
            y = np.array([r[name] for r in records], dtype=float)
            panels.append(
                Panel(
                    label,
                    [
                        Line(x, y, label, color, legend=False),
                        Points(x, y, label, color, size=6, legend=False),
                    ],
                )
            )
    if not panels:
        return None
    return Figure(
        key="drift",
        title="How far did the weights move?",
        xlabel="update",
        integer_x=True,
        panels=panels,
        note="Root mean square change of all weights since the foundation model, in units of "
        "the change that the prior allows. Well below 1: what the foundation model knew is kept.",
        height=180 + 130 * len(panels),
    )
