"""What comes after a round: another one, the proof, or the end.

The proof is a closing block: MD on the final weights through the whole programme, in which nothing
is learned and no label stops anything. Its audited steps are drawn at random before it begins.
"""

from __future__ import annotations

from dataclasses import replace

from onfly.dynamics.state import MDState
from onfly.proof import Block, Ledger, ProofRule, closing_block, draw_block
from onfly.rounds.decisions import after_labels, close_search, searching
from onfly.rounds.doubt import expected_failures, extended
from onfly.rounds.judge import calibrated
from onfly.rounds.limits import limited, stopped, without_requests
from onfly.rounds.programme import closing_stages
from onfly.schemas import RunState, TrajectoryDoc
from onfly.seeds import numpy_stream
from onfly.session import OpenRun, Session, calibration_docs

__all__ = ["after_explore", "after_judge", "close", "closing_length", "proof_rule"]

# MD steps of a closing block per audit, if the user names no length
SPACING = 20


def proof_rule(state: RunState) -> ProofRule | None:
    """Return what is to be proven; None if the user wants no proof."""
    proof = state.posterior.spec.proof
    if proof.attempts == 0 or searching(state):
        return None  # a relaxation or a path is decided by the labels at its end
    return ProofRule(
        coverage=proof.coverage,
        confidence=proof.confidence,
        failures=proof.failures,
        attempts=proof.attempts,
    )


def closing_length(state: RunState, n_audits: int) -> int:
    """Return the MD steps of a closing block, over all trajectories."""
    return max(state.posterior.spec.proof.steps or SPACING * n_audits, n_audits)


def after_explore(session: Session, state: RunState) -> RunState:
    """Decide what a round of MD leads to.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``explore``, with trajectories that have done their part of the round, unless the
        walltime ended it.

    Returns
    -------
    RunState
        In phase ``label``, ``close``, ``publish``, or ``explore`` again.
    """
    stopping = state.posterior.spec.stopping
    if any(t.round_began is not None for t in state.trajectories):
        return state.evolve(phase="explore")  # the walltime cut the round, which goes on
    state = state.evolve(round=state.posterior.round + 1)
    if state.n_failures >= stopping.max_failures:
        last = state.failures[-1] if state.failures else "unknown"
        return stopped(state, f"{state.n_failures} failures, the last one: {last}")
    if state.requests and (doubted := _doubted(session, state)) is not None:
        return doubted
    if state.requests:
        return limited(state)
    if _finished(state):
        return state.evolve(phase="close")
    return state.evolve(phase="explore")


def _doubted(session: Session, state: RunState) -> RunState | None:
    """Return the run with more exploring in place of a closing block that would fail, or None."""
    rule, posterior = proof_rule(state), state.posterior
    # after a block that failed the calibration is wide, and its doubt says little
    if rule is None or posterior.attempt != 0 or posterior.n_extensions >= rule.attempts:
        return None
    expected = expected_failures(session.workspace(state.run_id), state)
    return extended(state, expected) if expected > 1 - rule.coverage else None


def _finished(state: RunState) -> bool:
    """Whether the programme is at its end, or was quiet for long enough."""
    if all(t.done for t in state.trajectories):
        return True
    quiet = state.posterior.spec.stopping.quiet_steps
    if quiet is None or state.posterior.attempt is not None:
        return False
    return all(t.done or t.md_step - t.last_call_step >= quiet for t in state.trajectories)


def after_judge(session: Session, state: RunState) -> RunState:
    """Decide whether the labels of a round are learned now.

    Returns
    -------
    RunState
        In phase ``learn``, ``explore``, ``close``, ``label`` (the reserve of a closing block) or
        ``publish``.
    """
    run = session.open(state.posterior)
    ledger = run.ledger()
    spec = state.posterior.spec
    if state.n_failures >= spec.stopping.max_failures:
        last = state.failures[-1] if state.failures else "unknown"
        return stopped(without_requests(state), f"{state.n_failures} failures, the last: {last}")
    if searching(state):
        return after_labels(state, ledger)
    if state.posterior.attempt is not None:
        return _judge_block(run, state, ledger)
    limit = spec.stopping.max_labels
    if limit is not None and state.posterior.n_labels - state.posterior.n_seeds >= limit:
        return stopped(state, f"the limit of {limit} labels is reached")
    if finished := _finished(state):
        state = state.with_trajectories(
            t.model_copy(update={"done": True}) for t in state.trajectories
        )
    fraction = spec.rounds.audit_update_fraction
    new = ledger.unlearned
    teaches = any(e.reason != "audit" for e in new) or any(
        (e.worst() or 0.0) >= fraction for e in new
    )
    if new and (teaches or finished):
        return state.evolve(phase="learn")
    return state.evolve(phase="close" if finished else "explore")


def _judge_block(run: OpenRun, state: RunState, ledger: Ledger) -> RunState:
    rule = proof_rule(state)
    block = None if rule is None else closing_block(ledger, rule)
    if block is not None and block.state == "open" and state.requests:
        look = state.posterior.look + 1
        return state.evolve(phase="label", look=look, n_waits=state.posterior.n_waits + 1)
    # the errors of the block that was decided count from now on
    found = run.calibrations()
    for entry in ledger.closing(state.posterior.attempt):
        found = replace(found, energy=calibrated(found.energy, entry))
    return without_requests(state).evolve(phase="close", **calibration_docs(found))


def close(session: Session, state: RunState) -> RunState:
    """Begin a closing block, or end the run.

    Labels that are not learned yet are learned before a block begins, and after the last one that
    failed: the published model has seen every label, unless a proof holds for the weights before.

    Returns
    -------
    RunState
        In phase ``learn``, ``explore``, ``refit`` or ``publish``.
    """
    if searching(state):
        return close_search(session, state)
    run = session.open(state.posterior)
    ledger = run.ledger()
    rule = proof_rule(state)
    block = None if rule is None else closing_block(ledger, rule)
    passed = block is not None and block.state == "passed"
    if passed and state.posterior.attempt is not None:
        wanted = state.posterior.spec.proof.refit and bool(ledger.unlearned)
        phase = "refit" if wanted else "publish"
        return state.evolve(phase=phase, stop_reason=_passed(block))
    if ledger.unlearned:
        done = (t.model_copy(update={"done": True}) for t in state.trajectories)
        return state.with_trajectories(done).evolve(phase="learn")
    if rule is None:
        return state.evolve(phase="publish", stop_reason="all stages are done; no proof was asked")
    attempt = ledger.n_attempts
    if attempt >= rule.attempts:
        reason = f"all {rule.attempts} closing blocks failed"
        return state.evolve(phase="publish", stop_reason=reason)
    return _begin(run, state, rule, attempt)


def _passed(block: Block | None) -> str:
    assert block is not None
    good = block.n_audits - block.n_failed
    return f"closing block {block.attempt + 1} passed: {good} of {block.n_audits} audits good"


def _begin(run: OpenRun, state: RunState, rule: ProofRule, attempt: int) -> RunState:
    """Draw the steps of a closing block, and let the trajectories go on into it."""
    looks = rule.looks(attempt)
    limit = state.posterior.spec.stopping.max_labels
    if limit is not None:
        left = limit - (state.posterior.n_labels - state.posterior.n_seeds)
        if left < looks[0].n:
            return stopped(
                state, f"the limit of {limit} labels leaves {left} of the {looks[0].n} audits that "
                "the proof needs",
            )  # fmt: skip
    total = closing_length(state, looks[-1].n)
    stages = list(state.posterior.spec.trajectories.stages)
    each = max(-(-total // len(state.trajectories)), len(stages))
    each = sum(stage.n_steps for stage in closing_stages(stages, each))
    # blocks that were not labelled have draws of their own
    extra = (n,) if (n := state.posterior.n_extensions) else ()
    rng = numpy_stream(*run.key, "closing", attempt, *extra)
    drawn = draw_block(rng, each * len(state.trajectories), looks)
    trajectories = [
        _into_block(
            run,
            t,
            each,
            tuple(tuple(s - k * each for s in look if s // each == k) for look in drawn),
        )
        for k, t in enumerate(state.trajectories)
    ]
    return state.with_trajectories(trajectories).evolve(phase="explore", attempt=attempt, look=0)


def _into_block(
    run: OpenRun, trajectory: TrajectoryDoc, n_steps: int, drawn: tuple[tuple[int, ...], ...]
) -> TrajectoryDoc:
    """Let a trajectory begin a closing block; steps of the draw are counted from 0."""
    origin = trajectory.md_step
    changes: dict[str, object] = {
        "done": False,
        "origin": origin,
        "origin_time_fs": trajectory.time_fs,
        "n_steps": origin + n_steps,
        "closing_steps": tuple(tuple(origin + 1 + s for s in look) for look in drawn),
        "extended": False,
    }
    if run.doc.attempt is None and not trajectory.extended:
        changes["programme_step"] = origin - trajectory.origin
    if trajectory.supplied is not None:  # a guard stopped the block before: other velocities
        state = MDState.from_arrays(run.workspace.load_md_state(trajectory.md_state))
        again = state.rewound(max(state.temperature, 1.0), run.trajectory_key(trajectory.index))
        changes |= {
            "supplied": None,
            "md_state": run.workspace.save_md_state(again.to_arrays()),
        }
    return trajectory.model_copy(update=changes)
