"""Ticks of logarithmic axes as plain numbers, also where an axis spans less than a decade."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from onfly.report.spec import Figure, Panel

__all__ = ["integer_step", "log_ticks", "panel_ticks"]


def log_ticks(low: float, high: float) -> list[float]:
    """Return about four to ten round values from ``low`` to ``high``, both positive."""
    decades = np.log10(high / low)
    if decades < 0.8:
        return [float(v) for v in MaxNLocator(5).tick_values(low, high) if v > 0]
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    if decades <= 2.2:
        ticks = [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]
        return [tick for tick in ticks if low / 2.6 < tick < 2.6 * high]
    every = 1 + int(decades // 7)
    return [10.0**k for k in range(first, last + 1, every)]


def integer_step(spec: Figure) -> int:
    """Return a round distance of whole-numbered ticks that gives at most ten of them."""
    parts = [np.asarray(item.x, dtype=float) for panel in spec.panels for item in panel.items]
    values = np.concatenate(parts or [np.zeros(1)])
    span = float(np.nanmax(values) - np.nanmin(values)) if values.size else 1.0
    raw = max(span / 10, 1.0)
    decade = 10 ** int(np.floor(np.log10(raw)))
    return next(int(m * decade) for m in (1, 2, 5, 10) if m * decade >= raw)


def panel_ticks(panel: Panel) -> tuple[list[float], list[str]]:
    """Return ticks and their texts for what a logarithmic panel shows."""
    if panel.yrange is not None:
        low, high = panel.yrange
    else:
        parts = [np.asarray(getattr(item, "y", []), dtype=float).ravel() for item in panel.items]
        values = np.concatenate([*parts, [r.value for r in panel.references if r.axis == "y"]])
        values = values[np.isfinite(values) & (values > 0)]
        low, high = (values.min(), values.max()) if values.size else (1.0, 10.0)
    ticks = log_ticks(float(low), float(high) if high > low else 2 * float(low))
    return ticks, [f"{tick:.10g}" for tick in ticks]
