"""The comparison of published models: one page with figures, and the figures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onfly.artifacts.atomic import atomic_write
from onfly.report import theme
from onfly.report.page import render
from onfly.report.plot import Drawing, Plot, save_png, style, svg_text
from onfly.report.tables import formula_html
from onfly.schemas import FineTunedModelDoc

__all__ = ["build_comparison", "comparison_drawings"]

# height of the bars of one model, in points
_ROW = 44
_WIDTH = 0.36
# names of rows in words, where the name of the field is not one
_WORDS = {
    "formula_pretty": "formula",
    "chemsys": "elements",
    "threshold_ev": "tolerance (eV)",
    "n_labels": "labels",
    "n_audits": "audits",
    "n_audits_within": "audits within the tolerance",
    "temperature_range": "temperature (K)",
    "n_steps": "MD steps",
    "drift": "change of the weights (prior std)",
}


def build_comparison(
    models: Sequence[FineTunedModelDoc],
    rows: dict[str, list[str]],
    out: str | Path,
    png: bool = True,
) -> Path:
    """Write one page over some models.

    Parameters
    ----------
    models
        Two or more.
    rows
        What else to show of each: name -> one text for each model.
    out
        The page.
    png
        Also write the figures to ``<name of the page>_figures/*.png`` next to it.

    Raises
    ------
    ValueError
        If there are fewer than two models.
    """
    if len(models) < 2:
        raise ValueError("a comparison needs at least two models")
    page = Path(out).expanduser()
    page.parent.mkdir(parents=True, exist_ok=True)
    with style():
        drawings = comparison_drawings(models)
        heads = [
            {
                "formula_html": formula_html(str(model.formula_pretty or "")),
                "model_id": model.model_id,
                "state": model.state,
                "tone": theme.tone(model.state),
            }
            for model in models
        ]
        html = render(
            "compare.html.j2",
            models=heads,
            drawings=drawings,
            rows=[
                {
                    "name": _WORDS.get(name, name.replace("_", " ")),
                    "values": values,
                    "differs": len(set(values)) > 1,
                }
                for name, values in rows.items()
            ],
            svg=svg_text,
        )
        atomic_write(page, html.encode())
        if png:
            folder = page.with_name(f"{page.stem}_figures")
            folder.mkdir(exist_ok=True)
            for drawing in drawings:
                save_png(drawing.figure, folder / f"{drawing.key}.png")
    return page


def comparison_drawings(models: Sequence[FineTunedModelDoc]) -> list[Drawing]:
    """Return the figures; one that no model has numbers for is left out."""
    return [d for d in (_energy(models), _force(models), _labels(models), _coverage(models)) if d]


def _energy(models: Sequence[FineTunedModelDoc]) -> Drawing | None:
    atoms = [len(model.structure) for model in models]
    per_atom = len(set(atoms)) > 1
    scale = [1000 / n if per_atom else 1000.0 for n in atoms]
    unit = "meV per atom" if per_atom else "meV per cell"
    return _bars(
        "energy",
        "How large are the energy errors?",
        f"energy error, RMSE ({unit})",
        models,
        [_times(m.audits.rmse, s) for m, s in zip(models, scale, strict=True)],
        [_times(m.audits.foundation_rmse, s) for m, s in zip(models, scale, strict=True)],
        [_times(m.threshold_ev, s) for m, s in zip(models, scale, strict=True)],
    )


def _force(models: Sequence[FineTunedModelDoc]) -> Drawing | None:
    return _bars(
        "force",
        "How large are the force errors?",
        "force error, RMSE (meV/Å)",
        models,
        [_times(m.audits.force_rmse, 1000) for m in models],
        [_times(m.audits.foundation_force_rmse, 1000) for m in models],
        [_times(_force_tolerance(m), 1000) for m in models],
    )


def _bars(
    key: str,
    title: str,
    label: str,
    models: Sequence[FineTunedModelDoc],
    tuned: list[float],
    foundation: list[float],
    tolerance: list[float],
) -> Drawing | None:
    if not np.isfinite(tuned).any():
        return None
    plot, places = _panel(key, models, label)
    for values, offset, color, name in (
        (foundation, 0.2, theme.FOUNDATION, "foundation model"),
        (tuned, -0.2, theme.MODEL, "fine-tuned model"),
    ):
        known = np.isfinite(values)
        ys = places[known] + offset
        plot.panel.barh(ys, np.array(values)[known], height=_WIDTH, color=color, label=name)
        for y, value in zip(ys, np.array(values)[known], strict=True):
            _write(plot, f"{value:.3g}", value, y)
    marks = np.isfinite(tolerance)
    if marks.any():
        plot.panel.vlines(
            np.array(tolerance)[marks], places[marks] - 0.42, places[marks] + 0.42,
            color=theme.THRESHOLD, linestyle=(0, (3, 2)), label="tolerance",
        )  # fmt: skip
    top = np.nanmax([*tuned, *foundation, *tolerance])
    plot.panel.set_xlim(0, 1.18 * top)
    return plot.finish(
        title,
        "At the audits of each run, before their labels were learned. Each model has audits of "
        "its own: bars of different runs are of different structures.",
    )


def _labels(models: Sequence[FineTunedModelDoc]) -> Drawing:
    plot, places = _panel("labels", models, "number of labels")
    audits = np.array([m.n_audits for m in models], float)
    others = np.array([max(m.n_labels - m.n_audits, 0) for m in models], float)
    plot.panel.barh(places, others, height=_WIDTH, color=theme.MODEL, label="asked for")
    plot.panel.barh(
        places, audits, left=others, height=_WIDTH, color=theme.AUDIT, label="audits (checks)"
    )
    for y, model in zip(places, models, strict=True):
        waits = "" if model.n_waits is None else f" in {model.n_waits} waits"
        _write(plot, f"{model.n_labels}{waits}", float(model.n_labels), y)
    plot.panel.set_xlim(0, 1.35 * max(1.0, float((others + audits).max())))
    return plot.finish(
        "What did they cost?",
        "Each label is one reference calculation. Waits are rounds of labels that followed one "
        "another: with enough nodes they are the wall time.",
    )


def _coverage(models: Sequence[FineTunedModelDoc]) -> Drawing | None:
    known = [(y, m) for y, m in zip(_places(models), models, strict=True) if m.coverage is not None]
    if not known:
        return None
    plot, _ = _panel("coverage", models, "share of audits within the tolerance (%)")
    for y, model in known:
        low, high = model.coverage_interval or (model.coverage, model.coverage)
        plot.panel.hlines(y, 100 * (low or 0.0), 100 * (high or 0.0), color=theme.AUDIT, lw=3)
        _write(plot, f"{model.n_audits_within} of {model.n_audits}", 100.0, y)
    plot.points(
        plot.panel, [100 * (m.coverage or 0.0) for _, m in known], [y for y, _ in known],
        "audits of the run, with 95 % interval", theme.AUDIT, "D",
    )  # fmt: skip
    shares = [(y, (m.verdict or {}).get("coverage")) for y, m in known]
    proven = [(y, share) for y, share in shares if share]
    if proven:
        plot.points(
            plot.panel, [100 * share for _, share in proven], [y for y, _ in proven],
            "proven by the closing block, at least", theme.INK, "|",
            markersize=16, markeredgewidth=2, markeredgecolor=theme.INK,
        )  # fmt: skip
    plot.panel.set_xlim(0, 122)
    plot.panel.set_xticks([0, 20, 40, 60, 80, 100])
    return plot.finish(
        "What is proven?",
        "Audits along a run were predicted by weights that have been replaced since; what is "
        "proven of the final weights is the black mark.",
        columns=1,
    )


def _panel(key: str, models: Sequence[FineTunedModelDoc], label: str) -> tuple[Plot, np.ndarray]:
    """Return a plot with one row for each model, the first on top."""
    plot = Plot(f"compare-{key}", (_ROW * len(models) + 10,), xlabel=label)
    places = _places(models)
    plot.panel.set_yticks(places)
    plot.panel.set_yticklabels([m.model_id.replace("-", "-\n", 1) for m in models], fontsize=9)
    plot.panel.set_ylim(-0.6, len(models) - 0.4)
    plot.panel.grid(visible=False, axis="y")
    return plot, places


def _places(models: Sequence[FineTunedModelDoc]) -> np.ndarray:
    return np.arange(len(models), dtype=float)[::-1]


def _write(plot: Plot, text: str, x: float, y: float) -> None:
    plot.panel.annotate(
        text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=10,
        color=theme.INK,
    )  # fmt: skip


def _force_tolerance(model: FineTunedModelDoc) -> float | None:
    values = [float(t["value"]) for t in model.tolerances if t.get("quantity") == "force"]
    return min(values) if values else None


def _times(value: float | None, factor: float) -> float:
    return float("nan") if value is None else factor * value
