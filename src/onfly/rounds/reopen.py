"""Taking up a run with other settings: what may change, what may not, and where the run goes on.

Settings that decide what a label or a weight means are fixed once there is a label; the others may
change between any two rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onfly.proof import Ledger, closing_block, judge_decisions
from onfly.proof.decision import n_decisions
from onfly.rounds.close import proof_rule
from onfly.rounds.criteria import tolerance_in_cell
from onfly.rounds.decisions import decision_rule, searching
from onfly.schemas import CalibrationDoc, RunState, TrajectoryDoc
from onfly.spec import MDStage, RunSpec
from onfly.spec.stages import default_time_step, total_steps

__all__ = ["Change", "ReopenError", "changes", "reopen"]

ENDED = ("publish", "done", "stopped")

# group or setting -> why it cannot change once there are labels
_FIXED = {
    "foundation": "the weights that were learned are those of the foundation",
    "labels.labeller": "labels of two methods do not belong to one energy surface",
    "labels.energy_key": "the labels hold the other energy",
    "labels.seed_from": "they were read right after the first label",
    "posterior.kind": "the ensemble was drawn with it",
    "posterior.options": "the ensemble was drawn with them",
    "posterior.strategy": "the ensemble was drawn with it",
    "trajectories.walkers": "the trajectories have begun",
    "trajectories.time_step": "the simulated time so far was counted with it",
    "rounds.initial_labels": "the first labels have been asked for",
    "rounds.initial_steps": "the first labels have been asked for",
    "seed": "it names the random streams of the run",
}
_PROOF = ("proof.coverage", "proof.confidence", "proof.failures")
# of these, the labels so far are of no use to another run either
_OTHER_SURFACE = ("labels.labeller", "labels.energy_key")
_ELSE = "start a new run with `seed_from: [{run_id}]`, which takes over its labels"


class ReopenError(ValueError):
    """A run that cannot be taken up with these settings; the message says why."""


@dataclass(frozen=True)
class Change:
    """A setting that differs.

    Parameters
    ----------
    path
        Dotted, such as ``stopping.max_labels``.
    old, new
        Values as JSON has them.
    refused
        Why it cannot change; None if it can.
    """

    path: str
    old: Any
    new: Any
    refused: str | None = None


def changes(state: RunState, spec: RunSpec, ledger: Ledger) -> list[Change]:
    """Return the settings that differ, and which of them may not.

    Parameters
    ----------
    state
        Of the run.
    spec
        The other settings.
    ledger
        Of the run.
    """
    old = state.posterior.spec
    return [
        Change(path, before, after, _refusal(path, state, spec, ledger))
        for path, before, after in _differing(
            old.model_dump(mode="json"), spec.model_dump(mode="json")
        )
    ]


def reopen(state: RunState, spec: RunSpec, ledger: Ledger) -> RunState:
    """Return the run with other settings, in the phase in which it goes on.

    A run that has ended goes on if there is something left to do: further stages, a proof that may
    be tried again, or a limit that was raised. The failures so far are forgiven.

    Parameters
    ----------
    state
        Of the run.
    spec
        The settings from now on; those of the run to go on with them.
    ledger
        Of the run.

    Raises
    ------
    ReopenError
        If a setting may not change, or if nothing is left to do.
    """
    found = changes(state, spec, ledger)
    refused = [change for change in found if change.refused]
    if refused:
        raise ReopenError("\n".join(f"{c.path}: {c.refused}" for c in refused))
    ended = state.phase in ENDED
    state = _with_spec(state, spec)
    if state.phase == "start" or not state.trajectories:
        return state
    if not _in_proof(state) and not searching(state):
        state = state.with_trajectories(_longer(t, spec) for t in state.trajectories)
    if not ended:
        return state
    return _continued(state, spec, ledger, {c.path for c in found})


def _continued(state: RunState, spec: RunSpec, ledger: Ledger, changed: set[str]) -> RunState:
    limit = spec.stopping.max_labels
    paid = state.posterior.n_labels - state.posterior.n_seeds
    if limit is not None and paid >= limit:
        raise ReopenError(
            f"the run has {paid} labels, and stopping.max_labels is {limit}: raise it"
        )
    was_stopped, block_ended = state.posterior.stopped, _in_proof(state)
    state = state.evolve(
        stop_reason=None,
        stopped=False,
        model_id=None,
        attempt=None,
        look=0,
        n_failures=0,
        refit=None,
    ).with_trajectories(t.model_copy(update={"n_explosions": 0}) for t in state.trajectories)
    if block_ended:
        state = state.with_trajectories(_back(t, state, spec) for t in state.trajectories)
    if state.requests:
        return state.evolve(phase="label", n_waits=state.posterior.n_waits + 1)
    if any(not t.done for t in state.trajectories):
        return state.evolve(phase="explore")
    if searching(state):
        return _undecided(state, ledger)
    rule = proof_rule(state)
    if rule is None:
        raise ReopenError(
            "all stages are done and no proof is asked for: add stages, or set proof.attempts"
        )
    block = closing_block(ledger, rule)
    passed = block is not None and block.state == "passed"
    if passed and not was_stopped and "tolerance" not in changed:
        raise ReopenError("the run is ready: add stages to go on with it")
    if ledger.n_attempts >= rule.attempts:
        raise ReopenError(
            f"all {rule.attempts} closing blocks were tried: raise proof.attempts, or add stages "
            "so that the model learns more"
        )
    return state.evolve(phase="close")


def _undecided(state: RunState, ledger: Ledger) -> RunState:
    """Let a relaxation or a path go on whose labels did not agree."""
    rule = decision_rule(state)
    if judge_decisions(ledger, rule).state == "ready":
        raise ReopenError("the labels at the end agree: the run is ready")
    if n_decisions(ledger) >= rule.decisions:
        raise ReopenError(
            f"all {rule.decisions} rounds of labels decided against the end: raise `decisions` of "
            "the stage"
        )
    return state.evolve(phase="close")


def _in_proof(state: RunState) -> bool:
    """Whether closing blocks have begun, or a stretch between two of them is under way."""
    return state.posterior.attempt is not None or any(t.extended for t in state.trajectories)


def _with_spec(state: RunState, spec: RunSpec) -> RunState:
    energies = [
        tolerance_in_cell(t, state.posterior.nsites or 1)
        for t in spec.tolerance
        if t.quantity.startswith("energy")
    ]
    given, calibration = spec.calibration, state.posterior.calibration
    updated: dict[str, Any] = {
        "mode": given.mode,
        "decay": given.decay if given.mode == "ema" else 1.0,
        "surprise": given.surprise,
    }
    if given.shape is not None:
        updated |= {"shape": given.shape, "rate": given.rate}
    return state.evolve(
        spec=spec,
        threshold_ev=min(energies) if energies else None,
        calibration=CalibrationDoc(**calibration.model_dump() | updated),
    )


def _longer(trajectory: TrajectoryDoc, spec: RunSpec) -> TrajectoryDoc:
    """Return a trajectory that has the whole programme before it."""
    n_steps = trajectory.origin + total_steps(spec.trajectories.stages)
    if n_steps == trajectory.n_steps:
        return trajectory  # one that was quiet for long enough stays done
    return trajectory.model_copy(update={"n_steps": n_steps, "done": trajectory.md_step >= n_steps})


def _back(trajectory: TrajectoryDoc, state: RunState, spec: RunSpec) -> TrajectoryDoc:
    """Return a trajectory that goes on in the user's programme, behind closing blocks."""
    stages, position = spec.trajectories.stages, trajectory.programme_step
    symbols = [str(element) for element in state.posterior.elements or []]
    default = spec.trajectories.time_step or default_time_step(symbols)
    origin = trajectory.md_step - position
    return trajectory.model_copy(
        update={
            "origin": origin,
            "origin_time_fs": trajectory.time_fs - _duration(stages, position, default),
            "n_steps": origin + total_steps(stages),
            "done": position >= total_steps(stages),
            "closing_steps": (),
            "extended": False,
            "supplied": None,
            "requests": (),
        }
    )


def _duration(stages: tuple[MDStage, ...], n_steps: int, default: float) -> float:
    """Return the simulated time of the first steps of a programme in fs."""
    time = 0.0
    for stage in stages:
        taken = min(n_steps, stage.n_steps)
        time += taken * (stage.time_step or default)
        n_steps -= taken
    return time


def _refusal(path: str, state: RunState, spec: RunSpec, ledger: Ledger) -> str | None:
    """Return why a setting cannot change, or None."""
    if path.startswith("tolerance") and (names := _without_atoms(state, spec)):
        other = _ELSE.format(run_id=state.run_id)
        return f"the atoms of {names} were not chosen at the start; {other}"
    if state.phase == "start":
        return None
    begun = state.posterior.energy_offset is not None
    other = f"; {_ELSE.format(run_id=state.run_id)}"
    for name, reason in _FIXED.items():
        if path == name or path.startswith(f"{name}."):
            if name in ("labels.labeller", "labels.energy_key", "labels.seed_from") and not begun:
                return None
            useful = begun and name not in _OTHER_SURFACE
            return reason + (other if useful else "; start a new run")
    in_block = _in_proof(state) and state.phase not in ENDED
    if path in _PROOF and (ledger.n_attempts or in_block):
        return f"a closing block was drawn for the old value{other}"
    if path.startswith("trajectories.stages"):
        if in_block:
            return "a closing block is under way: take the run up, and add stages after its end"
        if searching(state):
            return _search_refusal(state, spec)
        return _stages_refusal(state, spec)
    if path.startswith("tolerance"):
        return _tolerance_refusal(state, spec, ledger, in_block)
    return None


def _search_refusal(state: RunState, spec: RunSpec) -> str | None:
    """Return what is wrong with another stage of a relaxation or a path."""
    (old, *_), (new, *others) = state.posterior.spec.trajectories.stages, spec.trajectories.stages
    if others or old != new.evolve(decisions=old.decisions, n_steps=old.n_steps, calls=old.calls):
        return "of a relaxation or a path only `decisions`, `n_steps` and `calls` may change"
    return None


def _stages_refusal(state: RunState, spec: RunSpec) -> str | None:
    """Return what is wrong with other stages: those that have begun may only get longer."""
    old, new = state.posterior.spec.trajectories.stages, spec.trajectories.stages
    positions = [_position(t, state) for t in state.trajectories]
    first = 0
    for number, stage in enumerate(old):
        begun = any(position > first for position in positions)
        ended = any(position > first + stage.n_steps for position in positions)
        first += stage.n_steps
        if not begun:
            continue
        if number >= len(new):
            return f"stage {number + 1} has begun and cannot be taken away"
        after = new[number]
        if after.model_copy(update={"n_steps": stage.n_steps}) != stage:
            return f"stage {number + 1} has begun: of it only n_steps may grow"
        if after.n_steps < stage.n_steps or (ended and after.n_steps != stage.n_steps):
            return f"stage {number + 1} has begun: n_steps {after.n_steps} cannot replace " + str(
                stage.n_steps
            )
        if after.n_steps != stage.n_steps and stage.is_ramp:
            return f"stage {number + 1} is a ramp that has begun: add a stage behind it instead"
    return None


def _position(trajectory: TrajectoryDoc, state: RunState) -> int:
    """Return the steps of the user's programme that a trajectory has done."""
    if state.posterior.attempt is not None or trajectory.extended:
        return trajectory.programme_step
    return trajectory.md_step - trajectory.origin


def _without_atoms(state: RunState, spec: RunSpec) -> str:
    """Name the tolerances of forces whose atoms the run does not know: they are found once."""
    known = state.posterior.tolerance_atoms
    return ", ".join(
        t.name for t in spec.tolerance if t.quantity == "force" and t.name not in known
    )


def _tolerance_refusal(
    state: RunState, spec: RunSpec, ledger: Ledger, in_block: bool
) -> str | None:
    old = {t.name: t for t in state.posterior.spec.tolerance}
    new = {t.name: t for t in spec.tolerance}
    other = f"; {_ELSE.format(run_id=state.run_id)}"
    if in_block:
        return "a closing block is under way, in which nothing may change"
    if ledger.n_attempts and set(old) != set(new):
        return f"the closing audits so far were judged by {', '.join(old)}{other}"
    rule = proof_rule(state)
    block = None if rule is None else closing_block(ledger, rule)
    smaller = any(new[name].value < old[name].value for name in set(old) & set(new))
    if block is not None and block.state == "passed" and smaller:
        return f"the proof so far is for the larger one{other}"
    return None


def _differing(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path and values of the leaves that differ; lists count as one."""
    whole = path in ("foundation", "labels.labeller", "posterior.options")
    if isinstance(old, dict) and isinstance(new, dict) and not whole:
        for key in {**old, **new}:
            below = f"{path}.{key}" if path else key
            yield from _differing(old.get(key), new.get(key), below)
    elif old != new:
        yield path, old, new
