from __future__ import annotations

import json

import pytest

from onfly.artifacts.workspace import RunWorkspace
from onfly.report.data import judge, load_documents, load_run
from onfly.report.verdict import energy_text, percent
from onfly.rounds.verdict import judge_run, verdict_of
from onfly.units import EV_PER_KCAL_MOL


def test_report_status_and_model_say_the_same(finished_run):
    run, model = load_documents(finished_run)
    workspace = RunWorkspace(finished_run.parent.parent, finished_run.name)
    said = verdict_of(workspace, run)
    ledger = workspace.read_ledger(run.posterior.n_records)
    shown = load_run(finished_run).verdict
    assert said == judge_run(run, ledger)
    assert said.model_dump(mode="json") == model.verdict
    assert shown.state == said.state == "ready"
    assert (shown.coverage, shown.confidence) == (said.coverage, said.confidence)
    assert (shown.n_audits, shown.n_failed) == (said.n_audits, said.n_failed) == (31, 0)
    assert " ".join(shown.reasons).startswith(said.sentence)
    assert "You may use the model" in shown.advice


def test_without_a_model_the_ledger_decides(write_run):
    folder = write_run(n_steps=200, published=False)
    assert load_run(folder).verdict.state == "ready"
    (folder / "model.json").write_text(json.dumps({"model_id": "another"}))
    data = load_run(folder)
    assert data.verdict.state == "ready"
    assert "model.json could not be read" in data.problems[0]


def test_one_failure_too_many(write_run):
    verdict = load_run(write_run(n_steps=200, n_failed=2)).verdict
    assert verdict.state == "not accurate enough"
    assert verdict.headline == "not accurate enough"
    assert verdict.n_failed == 2
    assert "29 of 31 audits" in verdict.reasons[0]


def test_no_closing_block_is_no_proof(write_run):
    verdict = load_run(write_run(n_steps=200, closing=0)).verdict
    assert verdict.state == "needs more audits"
    assert verdict.coverage is None
    assert "No closing block has been audited" in " ".join(verdict.reasons)
    assert "no proof" in verdict.advice


@pytest.mark.parametrize("phase", ["start", "label", "judge", "learn", "explore", "publish"])
def test_running(write_run, phase):
    run, model = load_documents(write_run(n_steps=40, phase=phase))
    assert model is None
    verdict = judge(run, n_steps=50)
    assert (verdict.state, verdict.coverage) == ("running", None)
    assert verdict.reasons[0] == "50 of 80 MD steps are done (62 %)."


def test_a_closing_block_under_way_is_told(write_run):
    run, _ = load_documents(write_run(n_steps=40, phase="explore"))
    assert "Closing block 2 is under way." in judge(run.evolve(attempt=1)).reasons


def test_stopped_says_why(write_run):
    folder = write_run(n_steps=40, phase="stopped", stop_reason="3 labels failed")
    run, model = load_documents(folder)
    run = run.evolve(n_failures=3, failures=("label 4: no SCF convergence",))
    verdict = judge(run, model)
    assert verdict.state == "stopped"
    assert verdict.headline == "stopped: 3 labels failed"
    assert "3 failures (label or MD) occurred. The last one: label 4" in verdict.reasons[-1]


def test_texts():
    assert energy_text(0.5 * EV_PER_KCAL_MOL) == "21.7 meV (0.5 kcal/mol)"
    assert [percent(x) for x in (0, 0.001, 0.5, 0.9964, 1)] == [
        "0 %",
        "0.1 %",
        "50 %",
        "99.6 %",
        "100 %",
    ]
