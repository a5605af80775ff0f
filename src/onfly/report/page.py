"""Put the page of a run together; slow to import, `onfly.report.build` is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from onfly.artifacts.atomic import atomic_write
from onfly.report import tables
from onfly.report.data import RunData, load_run
from onfly.report.figures_calibration import (
    calibration_history,
    coverage,
    lambda_posterior,
    reliability,
    z_score_history,
)
from onfly.report.figures_labels import energy_errors, force_errors, labels_over_time
from onfly.report.figures_md import doubt, md_history
from onfly.report.figures_ranking import FEW, error_bar_quality, likelihood_by_error
from onfly.report.figures_training import chain_history, drift
from onfly.report.matplotlib_backend import draw_png, save_png
from onfly.report.plotly_backend import draw_plotly
from onfly.report.spec import Figure
from onfly.report.structure import draw_structure, draw_structure_png
from onfly.report.theme import TONES
from onfly.report.verdict import judge

__all__ = ["render", "write_report"]

STRUCTURE_HEIGHT = 560


def write_report(folder: Path, page: Path, png: bool, refresh: int | None) -> None:
    """Write the page of a run and its figures; see `onfly.report.build_report`."""
    data = load_run(folder)
    page.parent.mkdir(parents=True, exist_ok=True)
    sections = _sections(data)
    structure = draw_structure(data, STRUCTURE_HEIGHT)
    drawn = {
        figure.key: json.loads(draw_plotly(figure).to_json())
        for section in sections
        for figure in section["figures"]
        if isinstance(figure, Figure)
    }
    if structure is not None:
        drawn["structure"] = json.loads(structure.to_json())
        sections.append(_structure_section())
    # replaced as a whole: a browser that reloads never sees half a page
    atomic_write(page, _page(data, sections, drawn, refresh).encode())
    if png:
        figures = page.with_name(f"{page.stem}_figures")
        figures.mkdir(exist_ok=True)
        for section in sections:
            for figure in section["figures"]:
                if isinstance(figure, Figure):
                    save_png(draw_png(figure), figures / f"{figure.key}.png")
        picture = draw_structure_png(data)
        if picture is not None:
            save_png(picture, figures / "structure.png")


def _sections(data: RunData) -> list[dict[str, Any]]:
    """Sections of figures; each says in words what is missing."""
    history = calibration_history(data)
    audits = [label for label in data.judged_labels if label.reason == "audit"]
    plan: list[tuple[str, str, list[Figure | None], str]] = [
        (
            "labels",
            "Reference calculations",
            [labels_over_time(data)],
            "No reference calculation is there yet.",
        ),
        (
            "errors",
            "Errors",
            [energy_errors(data), force_errors(data)],
            "No error is known yet: that needs a label after the first one.",
        ),
        (
            "trust",
            "Can the error bars be trusted?",
            [
                coverage(data),
                reliability(data, history),
                lambda_posterior(data, history),
                z_score_history(data, history),
                likelihood_by_error(data, history),
            ],
            "Nothing to judge the error bars by yet.",
        ),
        (
            "dynamics",
            "Molecular dynamics",
            [md_history(data), doubt(data)],
            "No MD step was recorded yet.",
        ),
        (
            "training",
            "Learning",
            [chain_history(data), drift(data)],
            "The model was not updated yet.",
        ),
    ]
    sections = []
    for key, title, figures, empty in plan:
        shown = [figure for figure in figures if figure is not None]
        missing = [] if shown else [empty]
        if key == "trust" and shown and not audits:
            missing = ["No audit was made yet, so the accuracy is not proven."]
        if key == "trust" and 0 < len(history.labels) < FEW:
            missing.append(
                f"Only {len(history.labels)} errors are known: too few to say whether the error "
                "bars tell good predictions from bad ones."
            )
        section = {"key": key, "title": title, "figures": shown, "missing": missing}
        if key == "trust" and len(history.labels) >= FEW:
            section["quality"] = tables.quality_rows(error_bar_quality(data, history))
        sections.append(section)
    return sections


def _structure_section() -> dict[str, Any]:
    figure = {
        "key": "structure",
        "title": "What did the reference calculations see?",
        "note": "Drag to turn, scroll to zoom; the slider goes through the labelled "
        "configurations. A click on “all labelled configurations” shows where the atoms were in "
        "all of them.",
        "height": STRUCTURE_HEIGHT,
        "wide": True,
    }
    return {"key": "structures", "title": "Structures", "figures": [figure], "missing": []}


def _version() -> str:
    try:
        return version("onfly")
    except PackageNotFoundError:
        return "(not installed)"


def render(template: str, **context: Any) -> str:
    """Fill a template of this package; everything not marked safe is escaped."""
    environment = Environment(
        loader=PackageLoader("onfly.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("onfly.report") / "templates"
    return environment.get_template(template).render(
        css=(folder / "base.css").read_text(encoding="utf-8"),
        sort_js=(folder / "sort.js").read_text(encoding="utf-8"),
        version=_version(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        **context,
    )


def _page(
    data: RunData, sections: list[dict[str, Any]], drawn: dict[str, Any], refresh: int | None
) -> str:
    run = data.run
    verdict = judge(run, data.model)
    formula = run.formula_pretty or "unknown compound"
    links = [{"key": "settings", "title": "Settings"}, *sections]
    links.append({"key": "tables", "title": "Labels and corrections"})
    return render(
        "run.html.j2",
        run=run,
        formula=formula,
        formula_html=tables.formula_html(formula),
        verdict=verdict,
        tone=TONES[verdict.state],
        tiles=tables.tiles(data),
        facts=tables.facts(data),
        stages=tables.stage_rows(data),
        settings_text=tables.settings_text(run.settings),
        sections=links,
        corrections=tables.correction_rows(data.labels),
        labels=tables.label_rows(data),
        problems=data.problems,
        few=FEW,
        refresh=refresh,
        # "</" must not end the script element early
        figures_json=json.dumps(drawn, separators=(",", ":")).replace("</", "<\\/"),
        plotly_js=get_plotlyjs(),
    )
