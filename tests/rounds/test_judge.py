"""Labels that come, labels that fail, and what the ledger keeps of them."""

from __future__ import annotations

import pytest

from onfly.rounds.judge import Answer
from tests.rounds.conftest import ALWAYS_UNSURE, SMALL_PROOF, emt_label, failing, off


def asked(run, reason):
    return [(r.md_step, r.attempt) for r in run.asked if r.reason == reason]


def test_a_failed_label_is_tried_more_carefully(loop):
    run = loop(failing("audit", attempts=(0,)), audit_interval=3)
    run.until("explore")
    state = run.step()
    steps = [r.md_step for r in state.requests]
    state = run.step()
    assert state.phase == "label"
    assert state.posterior.n_waits == 3  # another wait
    assert {r.attempt for r in state.due} == {1}
    state = run.step()
    assert state.phase == "judge"
    assert state.posterior.n_failures == 0
    assert [e.step for e in run.ledger.audits] == steps
    assert asked(run, "audit") == [(s, 0) for s in steps] + [(s, 1) for s in steps]


def test_an_audit_that_fails_twice_is_dropped(loop):
    run = loop(failing("audit"), audit_interval=4, stopping={"max_failures": 50})
    run.until("close")
    assert run.ledger.audits == ()
    assert run.state.posterior.n_failures > 0
    assert run.trajectory.md_step == 12
    assert "no convergence" in run.state.failures[-1]


def test_a_call_that_fails_twice_rewinds_the_md(loop):
    run = loop(failing("uncertain"), **ALWAYS_UNSURE)
    before = run.until("explore")
    start = run.md_state()
    run.step()
    after = run.until("explore")
    assert after.posterior.n_failures == before.posterior.n_failures + 1
    there = run.md_state()
    assert there["positions"].tolist() == start["positions"].tolist()
    assert there["momenta"].tolist() != start["momenta"].tolist()
    assert after.requests == ()


def test_too_many_failures_stop_the_run(loop):
    run = loop(failing("uncertain"), **ALWAYS_UNSURE, stopping={"max_failures": 2})
    model = run.verdict()
    assert model.state == "stopped"
    assert "2 failures" in model.stop_reason
    assert "no convergence" in model.stop_reason


def test_a_label_of_other_settings_is_a_failure(loop):
    def other(request, answer):
        if request.reason != "audit":
            return answer
        return Answer(answer.output.model_copy(update={"input_hash": "another"}))

    run = loop(other, audit_interval=4, stopping={"max_failures": 50})
    run.until("close")
    assert run.ledger.audits == ()


def test_closing_audits_that_fail_count_as_failures(loop):
    run = loop(failing("closing"), stopping={"max_failures": 50})
    model = run.verdict()
    closing = run.ledger.closing()
    assert len(closing) == 5
    assert all(entry.label is None and not entry.within() for entry in closing)
    assert model.state == "not accurate enough"
    assert model.verdict["n_failed"] == 5
    assert model.n_audits == 5
    assert model.n_audits_within == 0


def test_steps_behind_a_guard_count_as_failures(loop):
    run = loop(proof={**SMALL_PROOF, "attempts": 1})
    run.until("close")
    run.step()
    assert run.state.posterior.attempt == 0
    # from here on any temperature is too high
    posterior = run.state.posterior
    cold = posterior.spec.evolve(guards=posterior.spec.guards.evolve(max_temperature=1.0))
    # and the block, which is hopeless then, cannot be dropped any more
    run.state = run.state.evolve(spec=cold, n_extensions=1)
    drawn = [s for look in run.trajectory.closing_steps for s in look]
    run.step()
    assert run.trajectory.done
    assert run.trajectory.md_step == 12
    assert [r.reason for r in run.state.requests] == ["guard"]
    run.until("publish")
    closing = run.ledger.closing(0)
    assert sorted(e.step for e in closing) == sorted(run.trajectory.closing_steps[0])
    assert len(drawn) >= len(closing) > 0
    assert not any(e.within() for e in closing)
    assert run.verdict().state == "not accurate enough"


def test_the_first_label_sets_the_offset(loop):
    run = loop()
    run.until("judge")
    doc, (entry,) = run.state.posterior, run.ledger.entries
    view = run.session.open(doc)
    label = view.labels()[0]
    from onfly.schemas import to_atoms

    energy, _ = view.foundation_prediction(to_atoms(label.structure))
    assert doc.energy_offset == pytest.approx(energy - label.energy)
    assert entry.foundation_error == pytest.approx(0.0, abs=1e-9)
    assert entry.error is None  # nothing was predicted for it
    assert doc.calibration.n == 0


def test_errors_of_audits_enter_the_calibration_and_those_of_an_open_block_do_not(loop):
    run = loop(audit_interval=3)
    run.until("close")
    n = run.state.posterior.calibration.n
    assert len(run.ledger.audits) > 1
    assert 1 < n <= len(run.ledger.audits)  # a surprise may discount the history
    run.step()
    run.until("judge")
    assert run.state.posterior.calibration.n == n
    run.step()
    assert run.state.posterior.calibration.n > n


def test_seeds_of_an_earlier_run_follow_the_first_label(loop):
    old = loop(run_id="old", audit_interval=3)
    old.until("publish")
    n_old = len([e for e in old.ledger.entries if e.label])
    new = loop(run_id="new", seed_from=["old"])
    new.until("judge")
    entries = new.ledger.entries
    assert [e.reason for e in entries] == ["initial"] + ["seed"] * (n_old - 1)
    assert new.state.posterior.n_seeds == n_old - 1
    assert len(new.asked) == 1
    assert new.state.posterior.calibration.n == 0


def test_answers_must_be_for_what_was_asked(loop):
    from onfly.rounds.judge import judge_round

    run = loop()
    run.step()
    with pytest.raises(ValueError, match="0 answers for 1 requests"):
        judge_round(run.session, run.state, [])


def test_audits_far_from_their_labels_are_not_within(loop):
    run = loop(off("audit"), audit_interval=4)
    run.until("close")
    assert run.state.posterior.n_audits > 0
    assert run.state.posterior.n_audits_within == 0
    assert all(e.worst() == pytest.approx(10.0, rel=0.01) for e in run.ledger.audits)


def test_npt_without_stress_is_a_failed_first_label_at_the_latest(loop):
    from onfly.labels.errors import LabelError

    npt = {"n_steps": 4, "temperature": 300.0, "ensemble": "npt", "pressure": 0.0}
    run = loop(stages=[npt])
    assert emt_label(run.structures[0]).stress is None
    run.step()
    with pytest.raises(LabelError, match="gives no stress"):
        run.step()
