"""The figure of a path: its energies by the model and by the labels."""

from __future__ import annotations

import numpy as np

from onfly.report import theme
from onfly.report.plot import Drawing, Plot
from onfly.report.run_data import RunReportData

__all__ = ["barrier"]


def barrier(data: RunReportData) -> Drawing | None:
    """Draw the energies of the images along a path; None for a run without one."""
    doc = data.barrier
    if doc is None:
        return None
    x = np.array([image.length for image in doc.images])
    mean = np.array([image.predicted for image in doc.images])
    std = np.array([image.std for image in doc.images])
    plot = Plot("path", (240,), "length of the path (Å)")
    axes = plot.panel
    axes.fill_between(x, mean - std, mean + std, color="#0072b2", alpha=0.15, lw=0)
    axes.plot(x, mean, color="#0072b2", lw=1.0)
    texts = [
        f"image {k}: {m:.3f} ± {s:.3f} eV" for k, (m, s) in enumerate(zip(mean, std, strict=True))
    ]
    plot.points(axes, x, mean, "model, ± calibrated std", "#0072b2", texts=texts)
    known = [(a, i.labelled) for a, i in zip(x, doc.images, strict=True) if i.labelled is not None]
    if known:
        at, energies = (list(values) for values in zip(*known, strict=True))
        plot.points(
            axes, at, energies, "labels", theme.INK, "D",
            texts=[f"{energy:.3f} eV" for _, energy in known],
        )  # fmt: skip
    axes.set_ylabel("energy above the first image (eV)")
    axes.legend(loc="best")
    return Drawing("path", "Where does the path lead over?", _note(data), plot.figure, plot.hover)


def _note(data: RunReportData) -> str:
    doc = data.barrier
    assert doc is not None

    def text(name: str, predicted: float, interval: float, labelled: float | None) -> str:
        known = "no label" if labelled is None else f"{labelled:.3f} eV by the labels"
        return f"{name}: {predicted:.3f} ± {interval:.3f} eV by the model (95 %), {known}."

    forward, backward = doc.forward, doc.backward
    return " ".join(
        [
            text("Forward barrier", forward.predicted, forward.interval, forward.labelled),
            text("Backward barrier", backward.predicted, backward.interval, backward.labelled),
        ]
    )
