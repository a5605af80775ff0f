from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from onfly.report import build_report
from onfly.report.data import load_run
from onfly.report.figures_properties import bands, deviations, property_rows
from onfly.report.page import sections
from onfly.report.plot import style, svg_text
from onfly.schemas import FineTunedModelDoc, PropertiesDoc, PropertyDoc, PropertyValueDoc


def measured(labeller=True):
    path = np.linspace(0, 1, 5)
    line = np.outer(path, [1.0, 2.0, 3.0])

    def curve(factor):
        return {"path": path.tolist(), "ticks": [0.0, 1.0], "bands": (factor * line).tolist()}

    def value(name, unit, one, std, other, truth):
        return PropertyValueDoc(
            name=name, unit=unit, value=one, std=std, foundation=other,
            labeller=truth if labeller else None,
        )  # fmt: skip

    return PropertiesDoc(
        properties=[
            PropertyDoc(
                kind="eos",
                values=[
                    value("E0", "eV/atom", -3.0, 0.01, -2.9, -3.01),
                    value("B0", "GPa", 101.0, 2.0, 80.0, 100.0),
                ],
            ),
            PropertyDoc(
                kind="phonon",
                values=[value("X highest", "THz", 3.0, 0.1, 2.5, 3.1)],
                curves={
                    "model": curve(1.0),
                    "std": {"bands": (0.1 * line).tolist()},
                    "foundation": curve(0.8),
                },
                problems=["draw 3: no minimum"],
            ),
        ],
    )


def test_rows():
    rows = property_rows(measured())
    assert [row["name"] for row in rows] == ["E0", "B0", "X highest"]
    assert rows[1] == {
        "property": "Equation of state", "name": "B0", "unit": "GPa", "value": "101", "std": "2",
        "foundation": "80", "labeller": "100", "z": "0.5",
    }  # fmt: skip
    assert property_rows(measured(labeller=False))[1]["labeller"] == "–"


def test_figures():
    with style():
        first = deviations(measured())
        assert first is not None
        assert first.hover
        texts = next(iter(t for t in first.hover.values()))
        assert "B0: +1.00 ± 2.00 %" in texts
        assert "off the labeller" in svg_text(first)
        assert "off the foundation" in svg_text(deviations(measured(labeller=False)))
        assert "frequency" in svg_text(bands(measured()))
    assert bands(PropertiesDoc()) is None
    assert deviations(PropertiesDoc()) is None


def test_the_page_has_them_where_they_were_asked_for(finished_run, tmp_path):
    data = load_run(finished_run)
    assert "properties" not in [section.key for section in sections(data)]
    with style():
        section = sections(replace(data, properties=measured()))[-1]
    assert section.key == "properties"
    assert len(section.drawings) == 2
    assert section.missing == ["phonon: draw 3: no minimum"]
    path = finished_run / "model.json"
    before = path.read_text()
    model = FineTunedModelDoc.model_validate_json(before)
    try:
        path.write_text(model.model_copy(update={"properties": measured()}).model_dump_json())
        page = build_report(finished_run, tmp_path / "page.html")
    finally:
        path.write_text(before)
    text = page.read_text()
    assert 'id="property-table"' in text
    assert re.search(r"<td>B0</td><td>GPa</td><td class=\"n\">101</td>", text)
    assert (tmp_path / "page_figures" / "properties.png").is_file()
