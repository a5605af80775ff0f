from __future__ import annotations

import shutil

import pytest
import typer
from typer.testing import CliRunner

from onfly.cli import report as module
from onfly.flows.manifest import CampaignManifest
from onfly.report.data import workspace_of


@pytest.fixture
def invoke():
    app = typer.Typer()
    module.register(app)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_report_of_a_run(write_run, invoke, tmp_path):
    folder = write_run(n_steps=60)
    result = invoke("report", str(folder), "--out", str(tmp_path / "x.html"), "--no-png")
    assert result.exit_code == 0, result.output
    assert result.output.replace("\n", "") == str(tmp_path / "x.html")
    assert (tmp_path / "x.html").stat().st_size > 1e5
    assert not (tmp_path / "x_figures").exists()


def test_report_by_identifier_and_campaign(write_run, invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = write_run(run_id="a", n_steps=60)
    assert invoke("report", "a", "--no-png").exit_code == 0
    assert (folder / "report.html").is_file()
    assert invoke("report", "sulfides", "--no-png").exit_code == 0
    assert (tmp_path / "sulfides.html").is_file()


def test_unknown_run_is_an_error_with_a_remedy(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    result = invoke("report", "nothing")
    assert result.exit_code == 2
    assert "give the folder of a run" in result.output


def test_watch_ends_with_the_run(write_run, invoke, monkeypatch):
    running = write_run(run_id="r", n_steps=60, phase="explore")
    finished = write_run(run_id="f", n_steps=60)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert 'http-equiv="refresh" content="3"' in (running / "report.html").read_text()
        if len(waits) == 1:  # the run ends meanwhile
            state = workspace_of(finished).read_state()
            workspace_of(running).write_state(state.evolve(run_id="r"))
            (running / "ledger.jsonl").write_text((finished / "ledger.jsonl").read_text())

    monkeypatch.setattr(module.time, "sleep", sleep)
    result = invoke("watch", str(running), "--every", "3")
    assert result.exit_code == 0, result.output
    assert waits == [3]
    page = (running / "report.html").read_text()
    assert "http-equiv" not in page
    assert "Ready" in page or "Needs more audits" in page or "Not accurate" in page


def test_watch_of_a_campaign_goes_on_while_compounds_have_not_begun(
    write_run, invoke, tmp_path, monkeypatch
):
    """A campaign is not over when all that has begun is."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path))
    begun = write_run(run_id="a", n_steps=60)
    manifest = CampaignManifest(
        campaign="sulfides", target="local", compounds={"a": "CaZrS3", "b": "NaCl"}
    )
    manifest.write(tmp_path)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            shutil.copytree(begun, begun.with_name("b"))
            state = workspace_of(begun).read_state()
            workspace_of(begun.with_name("b")).write_state(state.evolve(run_id="b"))

    monkeypatch.setattr(module.time, "sleep", sleep)
    result = invoke("watch", "sulfides", "--every", "5")
    assert result.exit_code == 0, result.output
    assert waits == [5, 5]
    lines = [line for line in result.output.splitlines() if "compounds:" in line]
    assert "1 waiting" in lines[0]
    assert "waiting" not in lines[1]
    assert len(lines) == 2, "a line that says the same is not printed again"
