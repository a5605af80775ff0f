from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from onfly.report import load_run
from onfly.report.notebook import html_summary
from onfly.report.records import Counts


class Reader(HTMLParser):
    """Collect the text; every tag must be closed."""

    def __init__(self):
        super().__init__()
        self.words, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return " ".join(" ".join(reader.words).split())


@pytest.fixture
def data(finished_run):
    return load_run(finished_run)


def test_the_card_tells_state_tolerance_and_proof(data):
    text = read(html_summary(data))
    assert "CaZrS3-demo ready" in text
    assert "21.7 meV (0.5 kcal/mol) on the energy of the whole cell" in text
    assert f"{len(data.labels)} (" in text
    assert "at least" in text
    assert "Waits" not in text
    waited = replace(data, counts=Counts(40, 20, 19, n_waits=6))
    assert "Waits for labels 6" in read(html_summary(waited))


def test_the_card_escapes_and_survives_an_empty_run(data):
    bad = replace(data, labels=(), foundation="<b>x", verdict=replace(data.verdict, coverage=None))
    html = html_summary(bad)
    assert "<b>x" not in html
    assert "Proven" not in read(html)
