"""The numbers of docs/proof.md that are exact, against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onfly.proof import ProofRule, plan_audits

PAGE = (Path(__file__).parents[2] / "docs" / "proof.md").read_text()


def rows(header):
    """Cells of the table whose first line begins with a header."""
    lines = PAGE[PAGE.index(header) :].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def share(cell):
    return float(cell.removesuffix("%")) / 100


def test_audits_of_the_first_block():
    table = list(rows("| coverage | 90 % confidence"))
    assert len(table) == 5
    for coverage, *cells in table:
        for cell, confidence in zip(cells, (0.9, 0.95, 0.99), strict=True):
            looks = ProofRule(coverage=share(coverage), confidence=confidence).looks(0)
            least = plan_audits(share(coverage), confidence)
            assert cell == f"{looks[0].n} / {looks[1].n} ({least})"


def test_blocks_of_the_default():
    table = list(rows("| closing block |"))
    rule = ProofRule()
    assert len(table) == rule.attempts
    for number, alpha, first, last in table:
        attempt = int(number) - 1
        assert rule.alpha(attempt) == pytest.approx(share(alpha))
        assert [look.n for look in rule.looks(attempt)] == [int(first), int(last)]


def test_power_of_the_default():
    table = list(rows("| true coverage |"))
    rule = ProofRule()
    assert len(table) == 6
    for coverage, first, audits, end in table:
        q, missed = share(coverage), 1.0
        for attempt in range(rule.attempts):
            missed *= 1 - rule.power(q, attempt)
        assert rule.power(q) == pytest.approx(share(first), abs=0.005)
        assert 1 - missed == pytest.approx(share(end), abs=0.005)
        assert round(rule.expected_audits(q)) == int(audits)


def test_the_code_on_the_page_gives_what_it_says():
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1].replace("  # ", "\n# ")
    lines = block.strip().splitlines()
    names: dict = {}
    exec(lines[0], names)
    pairs = [(a, b) for a, b in zip(lines[2::2], lines[3::2], strict=True)]
    assert len(pairs) == 3
    for call, answer in pairs:
        value = eval(call, names)
        shown = repr(round(value, 3) if isinstance(value, float) else value)
        assert shown == answer.removeprefix("# ")
