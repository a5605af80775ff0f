from __future__ import annotations

import pytest
from scipy.stats import binomtest

from onfly.report.data import judge, load_documents
from onfly.report.verdict import Standing, energy_text, percent, put_in_words
from onfly.units import EV_PER_KCAL_MOL


@pytest.fixture
def documents(finished_run):
    return load_documents(finished_run)


def _run(documents, n, within, **changes):
    update = {
        "audits_since_update": n,
        "audits_within_since_update": within,
        "n_audits": n,
        "n_audits_within": within,
    }
    return documents[0].model_copy(update=update | changes)


def test_the_published_state_is_kept(documents):
    verdict = judge(*documents)
    assert (verdict.state, verdict.headline) == ("ready", "ready")
    assert "You may use the model" in verdict.advice


def test_without_a_model_the_audits_decide(documents):
    assert judge(_run(documents, 20, 20)).state == "ready"
    assert judge(_run(documents, 9, 9)).state == "needs more audits"
    assert judge(_run(documents, 20, 15)).state == "not accurate enough"
    few = Standing(phase="done", threshold=0.02, n_audits=9, n_within=9, min_audits=5)
    assert few.state == "ready"


def test_the_numbers_of_the_verdict():
    verdict = put_in_words(Standing(phase="done", threshold=0.02, n_audits=29, n_within=28))
    assert (verdict.n_audits, verdict.n_failed, verdict.confidence) == (29, 1, 0.95)
    assert verdict.coverage == pytest.approx(binomtest(28, 29).proportion_ci(0.95).low)
    assert put_in_words(Standing(phase="segment", threshold=0.02)).coverage is None


def test_no_audit_is_no_proof(documents):
    run, model = documents
    run = _run(documents, 0, 0)
    verdict = judge(run, model.model_copy(update={"state": "unproven"}))
    assert verdict.state == "needs more audits"
    text = " ".join(verdict.reasons)
    assert "not audited yet" in text
    assert "no proof" in text


def test_audits_of_earlier_weights_are_told_apart(documents):
    run = _run(documents, 3, 3, n_audits=12, n_audits_within=8)
    text = " ".join(judge(run).reasons)
    assert "3 of 3 audits" in text
    assert "7 of the 10 required audits are missing" in text
    assert "while the model was still learning, 8 of 12 audits" in text


def test_interval_is_clopper_pearson(documents):
    text = " ".join(judge(_run(documents, 20, 20)).reasons)
    assert "83 % to 100 % of the steps" in text  # 0.025 ** (1/20) = 0.832
    assert "within the threshold" in text
    assert "21.7 meV (0.5 kcal/mol)" in text


@pytest.mark.parametrize("phase", ["initial", "segment", "label", "calibrate", "update"])
def test_running(documents, phase):
    run = _run(documents, 20, 20, phase=phase, md_step=500, n_steps_total=2000)
    verdict = judge(run)
    assert verdict.state == "running"
    assert "500 of 2000 MD steps are done (25 %)" in verdict.reasons[0]


def test_stopped_says_why(documents):
    run, model = documents
    run = run.model_copy(update={"stop_reason": "3 labels failed", "n_failures": 3})
    verdict = judge(run, model.model_copy(update={"state": "stopped"}))
    assert verdict.state == "stopped"
    assert verdict.headline == "stopped: 3 labels failed"
    assert any("3 failures" in reason for reason in verdict.reasons)


def test_texts():
    assert energy_text(0.5 * EV_PER_KCAL_MOL) == "21.7 meV (0.5 kcal/mol)"
    assert [percent(x) for x in (0, 0.001, 0.5, 0.9964, 1)] == [
        "0 %",
        "0.1 %",
        "50 %",
        "99.6 %",
        "100 %",
    ]
