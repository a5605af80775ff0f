"""Put the page of a run together; slow to import, `onfly.report.build` is not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onfly.artifacts.atomic import atomic_write
from onfly.report import figures_calibration as calibration
from onfly.report import (
    figures_errors,
    figures_md,
    figures_path,
    figures_properties,
    figures_training,
    tables,
)
from onfly.report.data import load_run
from onfly.report.figures_ranking import FEW, error_bar_quality, likelihood_by_error
from onfly.report.plot import Drawing, save_png, style, svg_text
from onfly.report.run_data import RunReportData
from onfly.report.structure import draw_structure, structure_data
from onfly.report.theme import tone
from onfly.schemas.properties import PropertiesDoc

__all__ = ["Section", "render", "sections", "write_report"]


@dataclass(frozen=True)
class Section:
    """Figures under one heading, and in words what is missing."""

    key: str
    title: str
    drawings: list[Drawing]
    missing: list[str] = field(default_factory=list)
    quality: list[dict[str, str]] = field(default_factory=list)
    properties: list[dict[str, str]] = field(default_factory=list)


def write_report(folder: Path, page: Path, png: bool, refresh: int | None) -> None:
    """Write the page of a run and its figures; see `onfly.report.build_report`."""
    data = load_run(folder)
    page.parent.mkdir(parents=True, exist_ok=True)
    with style():
        opening = figures_errors.comparison(data)
        parts = sections(data)
        # replaced as a whole: a browser that reloads never sees half a page
        atomic_write(page, _page(data, opening, parts, refresh).encode())
        if not png:
            return
        figures = page.with_name(f"{page.stem}_figures")
        figures.mkdir(exist_ok=True)
        drawings = [drawing for part in parts for drawing in part.drawings]
        for drawing in [opening, *drawings] if opening else drawings:
            save_png(drawing.figure, figures / f"{drawing.key}.png")
        picture = draw_structure(data)
        if picture is not None:
            save_png(picture, figures / "structure.png")


def sections(data: RunReportData) -> list[Section]:
    """Return the sections of figures in the order of the page."""
    judged = calibration.judged_predictions(data)
    plan: list[tuple[str, str, list[Drawing | None], str]] = [
        (
            "labels",
            "Reference calculations",
            [
                figures_errors.labels_over_time(data),
                figures_errors.energy_errors(data),
                figures_errors.force_errors(data),
                calibration.coverage(data),
            ],
            "No reference calculation is there yet.",
        ),
        (
            "trust",
            "Can the error bars be trusted?",
            [
                calibration.reliability(data, judged),
                calibration.lambda_posterior(data, judged),
                calibration.z_score_history(data, judged),
                likelihood_by_error(data.threshold, judged),
            ],
            "Nothing to judge the error bars by yet.",
        ),
        (
            "dynamics",
            {"relax": "Relaxation", "neb": "Path"}[data.search.driver]
            if data.search
            else "Molecular dynamics",
            [figures_path.barrier(data)]
            if data.barrier
            else [figures_md.md_history(data), figures_md.doubt(data)],
            "No MD step was recorded yet.",
        ),
        (
            "training",
            "Learning",
            [figures_training.chain_history(data), figures_training.drift(data)],
            "The model was not updated yet.",
        ),
    ]
    result = []
    for key, title, drawings, empty in plan:
        shown = [drawing for drawing in drawings if drawing is not None]
        missing = [] if shown else [empty]
        quality: list[dict[str, str]] = []
        if key == "labels" and data.labels and not data.judged:
            missing.append("No error is known yet: that needs a label after the first one.")
        if key == "labels" and data.judged and not data.audits and not data.search:
            missing.append("No audit was made yet, so the accuracy is not proven.")
        if key == "labels" and data.n_unjudged:
            missing.append(f"{data.n_unjudged} audits could not be computed: they count as failed.")
        if key == "trust" and 0 < len(judged.labels) < FEW:
            missing.append(
                f"Only {len(judged.labels)} errors are known: too few to say whether the error "
                "bars tell good predictions from bad ones."
            )
        elif key == "trust":
            quality = tables.quality_rows(error_bar_quality(data.threshold, judged))
        result.append(Section(key, title, shown, missing, quality))
    if data.properties is not None:
        result.append(_properties(data.properties))
    return result


def _properties(found: PropertiesDoc) -> Section:
    """Return the section of the crystal's properties."""
    drawings = [figures_properties.deviations(found), figures_properties.bands(found)]
    failed = {f"{p.kind}: {problem}" for p in found.properties for problem in p.problems}
    return Section(
        "properties",
        "Properties of the crystal",
        [drawing for drawing in drawings if drawing is not None],
        [*found.problems, *sorted(failed)[:5]],
        properties=figures_properties.property_rows(found),
    )


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
        script=(folder / "page.js").read_text(encoding="utf-8"),
        version=_version(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        **context,
    )


def _page(
    data: RunReportData, opening: Drawing | None, parts: list[Section], refresh: int | None
) -> str:
    formula = data.identity.formula or "unknown compound"
    structure = structure_data(data)
    links = [("settings", "Settings"), *((part.key, part.title) for part in parts)]
    if structure is not None:
        links.append(("structures", "Structures"))
    links.append(("tables", "Tables"))
    return render(
        "run.html.j2",
        data=data,
        formula=formula,
        formula_html=tables.formula_html(formula),
        tone=tone(data.verdict.state),
        tiles=tables.tiles(data),
        facts=tables.facts(data),
        stages=data.stages,
        several=len(data.trajectories) > 1,
        settings_text=tables.settings_text(data.settings),
        links=links,
        opening=opening,
        sections=parts,
        svg=svg_text,
        corrections=tables.correction_rows(data.labels),
        labels=tables.label_rows(data),
        few=FEW,
        refresh=refresh,
        # "</" must not end the script element early
        structure_json=None
        if structure is None
        else json.dumps(structure, separators=(",", ":")).replace("</", "<\\/"),
    )
