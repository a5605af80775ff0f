from __future__ import annotations

import re

import pytest
from PIL import Image
from tests.report.conftest import forget

from onfly.artifacts.workspace import RunWorkspace
from onfly.report import build_campaign_report, build_report, find_runs
from onfly.report.tables import formula_html, number

FIGURES = {
    "comparison",
    "labels",
    "energy-errors",
    "force-errors",
    "coverage",
    "reliability",
    "lambda",
    "z-scores",
    "likelihood",
    "md",
    "doubt",
    "chains",
    "drift",
    "structure",
}


def _text(page):
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    return build_report(finished_run, tmp_path_factory.mktemp("page") / "cazrs3.html")


def test_page_holds_everything(page):
    text = _text(page)
    assert set(re.findall(r'data-figure="([^"]+)"', text)) == FIGURES
    for phrase in (
        "mace-mp-medium",
        "otf vasp label",
        "in 17 waits",
        "VaspErrorHandler",
        "algo_tet",
    ):
        assert phrase in text
    assert "INCAR: set ALGO = All" in text
    assert "31 of 31 audits of closing block 1 kept the tolerance" in text
    assert text.count("<tr") > 46


def test_page_loads_nothing(page):
    text = _text(page)
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#", "", text)


def test_page_is_small(page):
    assert page.stat().st_size < 1_500_000


def test_every_reference_of_a_figure_is_met_once(page):
    text = _text(page)
    wanted = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text))
    names = re.findall(r'\sid="([^"]+)"', text)
    assert len(wanted) > 20
    assert {name: names.count(name) for name in wanted} == dict.fromkeys(wanted, 1)


def test_points_tell_their_values(page):
    text = _text(page)
    (svg,) = re.findall(r'data-figure="energy-errors".*?</svg>', text, re.S)
    titles = re.findall(r"<title>(.*?)</title>", svg)
    assert len(titles) > 70
    assert any(re.fullmatch(r"label \d+, model unsure: [\d.]+ meV", title) for title in titles)


def test_the_page_opens_with_verdict_and_comparison(page):
    text = _text(page)
    places = [text.index(x) for x in ('id="verdict"', 'data-figure="comparison"', 'id="settings"')]
    assert places == sorted(places)


def test_figures_are_files_with_something_in_them(page):
    folder = page.with_name("cazrs3_figures")
    assert {p.stem for p in folder.glob("*.png")} == FIGURES
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
            background = max(count for count, _ in colours)
            assert background < 0.99 * image.width * image.height, path.name
            assert len(colours) > 50, path.name


def test_default_place_and_no_png(write_run):
    folder = write_run(n_steps=60)
    page = build_report(folder, png=False)
    assert page == folder / "report.html"
    assert not list(folder.glob("*_figures"))
    assert 'http-equiv="refresh"' not in page.read_text()


def test_refresh_while_watched(write_run):
    page = build_report(write_run(n_steps=60), png=False, refresh=7)
    assert '<meta http-equiv="refresh" content="7">' in page.read_text()


def test_an_empty_run_says_what_is_missing(write_run, tmp_path):
    folder = write_run(n_steps=20, phase="start", audits=False)
    forget(folder, "trajectories", "training", "ledger.jsonl")
    state = RunWorkspace(tmp_path, folder.name).read_state()
    RunWorkspace(tmp_path, folder.name).write_state(state.evolve(n_records=0))
    text = _text(build_report(folder))
    assert "No reference calculation is there yet." in text
    assert "No MD step was recorded yet." in text
    assert "data-figure" not in text
    assert "Running" in text


def test_only_the_first_label(write_run, tmp_path):
    folder = write_run(n_steps=20, phase="explore", audits=False)
    state = RunWorkspace(tmp_path, folder.name).read_state()
    RunWorkspace(tmp_path, folder.name).write_state(state.evolve(n_records=1))
    text = _text(build_report(folder))
    assert "No error is known yet" in text
    assert 'data-figure="labels"' in text
    assert 'data-figure="structure"' in text


def test_no_audits(write_run):
    text = _text(build_report(write_run(n_steps=60, audits=False), png=False))
    assert "Needs more audits" in text
    assert "the accuracy is not proven" in text


def test_names_are_escaped(write_run):
    folder = write_run(n_steps=20, stop_reason="<script>alert(1)</script>", audits=False)
    assert "<script>alert" not in build_report(folder, png=False).read_text()


def test_campaign(write_run, tmp_path):
    write_run(run_id="a", n_steps=60)
    write_run(run_id="b", n_steps=60, molecule=True, phase="explore")
    stopped = {"phase": "stopped", "stop_reason": "no luck"}
    write_run(run_id="c", n_steps=60, campaign="other", **stopped)
    folders, single = find_runs(tmp_path, tmp_path)
    assert [f.name for f in folders] == ["a", "b", "c"]
    assert not single
    (folders[0].parent / "broken").mkdir()
    (folders[0].parent / "broken" / "run.json").write_text("{")
    folders, _ = find_runs(tmp_path, tmp_path)
    page = build_campaign_report(folders, tmp_path / "out" / "campaign.html")
    text = _text(page)
    for run in ("a", "b", "c"):
        (link,) = re.findall(rf'href="(\.\./runs/{run}/report\.html)"', text)
        assert (page.parent / link).is_file()
    assert "ready" in text
    assert "stopped: no luck" not in text  # the badge is short, the reason is its title
    assert "no luck" in text
    assert "broken:" in text
    assert page.stat().st_size < 100_000  # no figures
    # a run that ended is not drawn again, one that goes on is
    before = {r: (tmp_path / "runs" / r / "report.html").stat().st_mtime_ns for r in "abc"}
    build_campaign_report(folders, page)
    after = {r: (tmp_path / "runs" / r / "report.html").stat().st_mtime_ns for r in "abc"}
    assert after["b"] > before["b"]
    assert (after["a"], after["c"]) == (before["a"], before["c"])


def test_find_runs(write_run, tmp_path):
    a = write_run(run_id="a", n_steps=10, audits=False)
    write_run(run_id="b", n_steps=10, audits=False, campaign="other")
    assert find_runs(a, "/nowhere") == ([a], True)
    assert find_runs("a", tmp_path) == ([a], True)
    assert find_runs("sulfides", tmp_path) == ([a], False)
    with pytest.raises(FileNotFoundError, match="campaign other"):
        find_runs("nothing", tmp_path)


def test_no_runs(tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        build_campaign_report([], tmp_path / "x.html")


def test_small_texts():
    assert formula_html("Ca8Zr8HS24") == "Ca<sub>8</sub>Zr<sub>8</sub>HS<sub>24</sub>"
    assert formula_html("<b>") == "b"
    assert number(0.0217, 3, 1000) == "21.7"
    assert number(-1.5e-5, 3, 1000, sign=True) == "-0.0150"
    assert number(None) == "–"
    assert number(123456.0) == "123456"
