"""What comes after a round: learning, the proof with its reserve, and every verdict."""

from __future__ import annotations

import pytest

from onfly.rounds.close import proof_rule
from onfly.rounds.judge import Answer
from tests.rounds.conftest import ALWAYS_UNSURE, SMALL_PROOF, failing, off

TWO_LOOKS = {"coverage": 0.5, "confidence": 0.9, "failures": 1, "attempts": 1, "steps": 20}


def generations(run):
    return [m.sha256 for m in run.state.posterior.ensemble.members]


def test_a_fraction_of_zero_learns_every_audit_and_reaches_ready(loop):
    run = loop(audit_interval=3, audit_update_fraction=0.0, round_length=4)
    model = run.verdict()
    assert model.state == "ready"
    assert run.phases.count("learn") > 2


def test_good_audits_teach_at_the_end_of_the_programme_only(loop):
    run = loop(audit_interval=3, audit_update_fraction=1.0, round_length=4)
    run.verdict()
    explores = [i for i, p in enumerate(run.phases) if p == "explore"]
    learns = [i for i, p in enumerate(run.phases) if p == "learn"]
    # the first labels, and what the audits taught before the proof began
    assert len(learns) == 2
    assert learns[1] > explores[2]


def test_labels_are_learned_before_a_block_and_weights_that_pass_stay(loop):
    run = loop(audit_interval=4)
    run.until("close")
    assert run.ledger.unlearned == ()
    weights = generations(run)
    run.step()
    assert run.state.posterior.attempt == 0
    model = run.verdict()
    assert model.state == "ready"
    assert generations(run) == weights
    assert run.ledger.unlearned == run.ledger.closing(0)
    assert model.proven_generation == model.ensemble.generation
    assert model.verdict["coverage"] >= 0.5
    assert (model.n_labels, model.n_waits) == (len(run.ledger.entries), 3)


def test_a_block_that_failed_is_learned_and_another_begins(loop):
    def once(request, answer):
        first = request.reason == "closing" and request.md_step <= 22
        return off("closing")(request, answer) if first else answer

    run = loop(once, proof={**SMALL_PROOF, "attempts": 2})
    run.until("close")
    run.step()
    weights = generations(run)
    run.until("learn")
    run.step()
    assert generations(run) != weights
    assert run.state.phase == "close"
    assert run.step().posterior.attempt == 1
    # the second block goes on where the first ended
    assert run.trajectory.origin >= 22
    model = run.verdict()
    assert model.state == "ready"
    assert "closing block 2 passed" in model.stop_reason
    assert model.simulated_time_fs == pytest.approx(2.0 * run.trajectory.md_step)


def test_attempts_that_are_used_up_are_not_accurate_enough(loop):
    run = loop(off("closing"), proof={**SMALL_PROOF, "attempts": 2})
    model = run.verdict()
    assert model.state == "not accurate enough"
    assert model.stop_reason == "all 2 closing blocks failed"
    assert model.verdict["attempts_left"] == 0
    # the published weights have seen every label
    assert run.ledger.unlearned == ()
    assert model.proven_generation is None


def test_without_a_proof_more_audits_are_needed(loop):
    model = loop(proof={"attempts": 0}).verdict()
    assert model.state == "needs more audits"
    assert model.stop_reason == "all stages are done; no proof was asked"
    assert model.verdict["coverage"] is None


@pytest.mark.parametrize(("limit", "words"), [(3, "is reached"), (10, "")])
def test_the_limit_of_labels(loop, limit, words):
    run = loop(**ALWAYS_UNSURE, stopping={"max_labels": limit}, proof={"attempts": 0})
    model = run.verdict()
    assert model.n_labels <= limit
    assert model.state == "stopped"
    assert f"the limit of {limit} labels {words}" in model.stop_reason


def test_a_limit_that_the_proof_needs_more_than(loop):
    model = loop(stopping={"max_labels": 4}).verdict()
    assert model.state == "stopped"
    assert "leaves 3 of the 5 audits that the proof needs" in model.stop_reason
    assert model.n_labels == 1


def test_nothing_is_waited_for_where_no_label_is_left(loop):
    run = loop(initial_labels=4, initial_steps=2, audit_interval=2, stopping={"max_labels": 4})
    run.until("explore", "publish")
    waits = run.state.posterior.n_waits
    model = run.verdict()
    assert model.n_waits == waits == 1
    assert "the limit of 4 labels" in model.stop_reason


def test_calls_come_first_where_labels_are_short(loop):
    run = loop(**ALWAYS_UNSURE, audit_interval=1, look_ahead_labels=3, stopping={"max_labels": 2})
    run.until("explore")
    run.step()
    assert [r.reason for r in run.state.requests] == ["uncertain"]


def test_the_reserve_is_labelled_only_when_it_is_needed(loop):
    run = loop(proof=TWO_LOOKS)
    looks = proof_rule(run.state).looks(0)
    assert len(looks) == 2
    run.until("close")
    run.step()
    run.step()
    waits = run.state.posterior.n_waits
    assert len(run.state.due) == looks[0].n < len(run.state.requests)
    model = run.verdict()
    assert model.state == "ready"
    assert model.n_waits == waits
    assert len(run.ledger.closing()) == looks[0].n
    assert run.state.requests == ()


def test_a_failure_that_is_allowed_asks_for_the_reserve(loop):
    seen = []

    def once(request, answer):
        if request.reason != "closing" or (seen and seen[0] != request.key):
            return answer
        seen.append(request.key)
        return off("closing")(request, answer)

    run = loop(once, proof=TWO_LOOKS)
    first, second = proof_rule(run.state).looks(0)
    run.until("close")
    run.step()
    run.step()
    waits = run.state.posterior.n_waits
    run.step()
    state = run.step()
    assert (state.phase, state.posterior.look) == ("label", 1)
    assert state.posterior.n_waits == waits + 1
    model = run.verdict()
    assert model.state == "ready"
    assert model.n_waits == waits + 1
    assert model.verdict["n_failed"] == 1
    assert len(run.ledger.closing()) == model.verdict["n_audits"] > first.n
    assert model.verdict["n_audits"] <= first.n + second.n


def test_a_label_tried_again_in_a_block_is_another_wait(loop):
    run = loop(failing("closing", attempts=(0,)))
    model = run.verdict()
    assert model.state == "ready"
    assert model.n_waits == 3


def test_steps_of_a_block_are_in_all_stages(loop):
    stages = [{"n_steps": 6, "temperature": t, "time_step": 2.0} for t in (300.0, 900.0)]
    run = loop(stages=stages, proof={**SMALL_PROOF, "steps": 40})
    run.until("close")
    run.step()
    drawn = run.trajectory.closing_steps[0]
    assert all(12 < s <= 52 for s in drawn)
    run.until("publish")
    folder = run.session.workspace("r").trajectory(0)
    rows = [r for p in folder.thermo_files() for r in p.read_text().splitlines()[1:]]
    stage = {int(r.split(",")[0]): int(r.split(",")[2]) for r in rows}
    assert [stage[s] for s in (13, 32, 33, 52)] == [0, 0, 1, 1]


def test_walkers_share_a_block(loop):
    run = loop(walkers=3, proof={**SMALL_PROOF, "steps": 12})
    run.until("close")
    run.step()
    parts = [t.closing_steps[0] for t in run.state.trajectories]
    assert sum(map(len, parts)) == 5
    model = run.verdict()
    assert model.state == "ready"
    assert {t.md_step for t in run.state.trajectories} == {12 + 4}
    # the time of the closing steps of all trajectories is in it
    assert model.simulated_time_fs == pytest.approx(3 * 16 * 2.0)
    assert model.n_steps == 48


def test_a_stopped_run_goes_on_with_other_settings(loop):
    from onfly.rounds.reopen import reopen

    run = loop(**ALWAYS_UNSURE, stopping={"max_labels": 3}, proof={"attempts": 0})
    assert run.verdict().state == "stopped"
    run.until("publish")
    spec = run.state.posterior.spec
    more = spec.evolve(stopping=spec.stopping.evolve(max_labels=5))
    run.state = reopen(run.state, more, run.ledger)
    run.until("publish")
    assert run.state.posterior.n_labels == 5


def test_an_answer_without_output_is_a_failure(loop):
    run = loop(lambda r, a: Answer() if r.reason == "closing" else a, stopping={"max_failures": 9})
    assert run.verdict().state == "not accurate enough"
    assert "the labeller gave no output" in run.state.failures[-1]
