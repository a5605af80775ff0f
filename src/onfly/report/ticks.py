"""Ticks of logarithmic axes as plain numbers, also where an axis spans less than a decade."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from onfly.report.spec import Panel

__all__ = ["log_ticks", "panel_ticks"]


def log_ticks(low: float, high: float) -> list[float]:
    """Return about four to ten round values from ``low`` to ``high``, both positive."""
    decades = np.log10(high / low)
    if decades < 0.8:
        return [float(v) for v in MaxNLocator(5).tick_values(low, high) if v > 0]
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    if decades <= 2.2:
        return [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]
    every = 1 + int(decades // 7)
    return [10.0**k for k in range(first, last + 1, every)]


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
