"""The tables of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from onfly.spec.tables import TABLES, markdown, rewrite, rows

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_current():
    text = PAGE.read_text(encoding="utf-8")
    assert rewrite(text) == text, "run `python -m onfly.spec.tables docs/configuration.md`"


def test_every_table_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for name in TABLES:
        assert f"<!-- table: {name} -->" in text


@pytest.mark.parametrize("name", TABLES)
def test_every_setting_has_a_sentence(name):
    for row in rows(*TABLES[name]):
        assert row.sentence.strip().endswith("."), row.key
        assert row.type
        assert row.default


def test_a_row():
    found = {row.key: row for row in rows(*TABLES["trajectories"])}
    row = found["time_step"]
    assert (row.flat, row.type, row.unit, row.default) == ("time_step", "number", "fs", "`null`")
    assert row.limits == "> 0, ≤ 10"
    assert "| `length` | `round_length` | integer | MD steps |" in markdown("rounds")
