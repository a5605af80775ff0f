from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from onfly.report import load_run
from onfly.report.data import load_documents
from onfly.report.notebook import html_summary, load_ipython_extension, show
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
    assert "31 of 31 audits good" in text
    assert "in 17 waits" in text
    counted = replace(data, counts=Counts(n_labels=40, n_seeds=3, n_calls=20, n_audits=17))
    assert "40 (20 calls, 17 audits, 3 of earlier runs)" in read(html_summary(counted))


def test_the_card_escapes_and_survives_an_empty_run(data):
    bad = replace(data, labels=(), foundation="<b>x", verdict=replace(data.verdict, coverage=None))
    html = html_summary(bad)
    assert "<b>x" not in html
    assert "Proven" not in read(html)


def test_documents_are_shown(finished_run):
    root = finished_run.parent.parent
    run, model = load_documents(finished_run)
    cards = [read(show(x, root)._repr_html_()) for x in (run, model, run.run_id, finished_run)]
    assert len(set(cards)) == 1
    assert "CaZrS3-demo ready" in cards[0]


def test_a_model_without_its_run_is_shown_by_its_document(finished_run, tmp_path):
    run, model = load_documents(finished_run)
    text = read(show(model, tmp_path).html)
    assert "CaZrS3-demo-model ready" in text
    assert "31 of 31 audits good" in text
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        show(run, tmp_path)


def test_the_extension_shows_documents(finished_run, monkeypatch):
    formatters = pytest.importorskip("IPython.core.formatters")
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(finished_run.parent.parent))
    shell = SimpleNamespace(display_formatter=formatters.DisplayFormatter())
    load_ipython_extension(shell)
    run, _ = load_documents(finished_run)
    found, _ = shell.display_formatter.format(run)
    assert "CaZrS3-demo ready" in read(found["text/html"])
