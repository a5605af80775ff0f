"""How many labels a run may still ask for, and a run that is cut short."""

from __future__ import annotations

from onfly.schemas import RunState

__all__ = ["limited", "stopped", "without_requests"]


def limited(state: RunState) -> RunState:
    """Ask for labels, but for no more than the user allows; calls come first."""
    limit = state.posterior.spec.stopping.max_labels
    waiting = {"phase": "label", "n_waits": state.posterior.n_waits + 1, "look": 0}
    if limit is None:
        return state.evolve(**waiting)
    left = limit - (state.posterior.n_labels - state.posterior.n_seeds)
    requests = sorted(state.requests, key=lambda r: not r.is_call)
    if len(requests) <= left:
        return state.evolve(**waiting)
    if state.posterior.attempt is not None or left <= 0:
        what = "the proof" if state.posterior.attempt is not None else "more"
        reason = f"the limit of {limit} labels leaves {max(left, 0)} for {what}"
        return stopped(without_requests(state), reason)
    kept = {request.key for request in requests[:left]}
    return state.evolve(**waiting).with_trajectories(
        t.model_copy(update={"requests": tuple(r for r in t.requests if r.key in kept)})
        for t in state.trajectories
    )


def without_requests(state: RunState) -> RunState:
    """Drop labels that nobody needs any more, such as the reserve of a decided block."""
    return state.with_trajectories(
        t.model_copy(update={"requests": ()}) for t in state.trajectories
    )


def stopped(state: RunState, reason: str) -> RunState:
    """Return the run cut short, with the reason."""
    return state.evolve(phase="publish", stop_reason=reason, stopped=True)
