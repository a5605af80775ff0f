"""The end of a relaxation or of a path: configurations whose labels decide.

Where they agree with the model and their forces are as small as was asked for, the run is ready.
Otherwise it learns them and goes on from there with the label's forces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from onfly.dynamics.correction import anchored
from onfly.dynamics.relax_optimizers import largest_force
from onfly.dynamics.state import MDState
from onfly.proof import Ledger, LedgerEntry
from onfly.proof.decision import ENDS, FMAX, DecisionRule, deciding, n_decisions, refuting
from onfly.rounds.criteria import tolerance_in_cell
from onfly.rounds.limits import limited
from onfly.rounds.requests import assessed, request_of
from onfly.schemas import LabelDoc, RequestDoc, RunState, TrajectoryDoc, to_atoms
from onfly.session import OpenRun, Session
from onfly.spec import MDStage

__all__ = [
    "after_labels",
    "close_search",
    "deciding_errors",
    "decision_rule",
    "label_force",
    "on_path",
    "searching",
    "undecided",
    "with_requests",
]


def searching(state: RunState) -> bool:
    """Whether a run relaxes or looks for a path, instead of running MD."""
    return state.posterior.spec.trajectories.stages[0].searches


def on_path(state: RunState) -> bool:
    """Whether the trajectories of a run are the images of a path."""
    return state.posterior.spec.trajectories.stages[0].driver == "neb"


def decision_rule(state: RunState) -> DecisionRule:
    """Return what is to be decided."""
    stage = state.posterior.spec.trajectories.stages[0]
    return DecisionRule(
        path=on_path(state),
        n_trajectories=state.posterior.spec.trajectories.walkers,
        fmax=stage.resolved_fmax,
        decisions=stage.resolved_decisions,
    )


def label_force(label: LabelDoc, stage: MDStage) -> float:
    """Return the largest force of a label in eV/Å, with its stress where the cell is relaxed."""
    stress = None if not stage.cell or label.stress is None else np.array(label.stress)
    volume = None if stress is None else to_atoms(label.structure).get_volume()
    return largest_force(np.array(label.forces), stress, volume, stage.pressure)


def deciding_errors(
    run: OpenRun, state: RunState, ledger: Ledger, request: RequestDoc, label: LabelDoc
) -> dict[str, float]:
    """Return what a deciding label is judged by besides the tolerances, as ratios.

    Parameters
    ----------
    run, state, ledger
        Before the label.
    request, label
        The label, and what was asked.
    """
    stage = run.spec.trajectories.stages[0]
    found = {FMAX: label_force(label, stage) / stage.resolved_fmax}
    rule = decision_rule(state)
    if rule.path and 0 < request.trajectory < rule.n_trajectories - 1:
        errors = _errors_at_ends(run, ledger, rule)
        if errors:
            found[ENDS] = max(errors)
    return found


def _errors_at_ends(run: OpenRun, ledger: Ledger, rule: DecisionRule) -> list[float]:
    """Return the errors of the present weights at ends that earlier weights were judged by."""
    limits = [
        tolerance_in_cell(t, run.doc.nsites or 1)
        for t in run.spec.tolerance
        if t.quantity.startswith("energy")
    ]
    generation = run.doc.ensemble.generation if run.doc.ensemble is not None else -1
    ends = [
        e
        for e in deciding(ledger, rule)
        if e.trajectory in (0, rule.n_trajectories - 1) and e.generation != generation and e.label
    ]
    if not limits or not ends:
        return []
    predictor = run.predictor()
    found = []
    for entry in ends:
        label = run.session.labels.get(entry.label or "")
        predicted = predictor.predict(to_atoms(label.structure), stress=False).energy - run.offset
        found.append(abs(predicted - label.energy) / min(limits))
    return found


def after_labels(state: RunState, ledger: Ledger) -> RunState:
    """Decide what the labels of a round lead to.

    Returns
    -------
    RunState
        In phase ``close`` where a configuration was labelled that decides, else ``learn``.
    """
    if any(entry.reason == "deciding" for entry in ledger.unlearned):
        return state.evolve(phase="close")
    return state.evolve(phase="learn" if ledger.unlearned else "explore")


def close_search(session: Session, state: RunState) -> RunState:
    """Ask for the labels that decide, go on from those that refuted the end, or end the run.

    Returns
    -------
    RunState
        In phase ``label``, ``learn``, ``explore`` or ``publish``.
    """
    run = session.open(state.posterior)
    ledger, rule = run.ledger(), decision_rule(state)
    if state.posterior.spec.proof.attempts == 0:
        if ledger.unlearned:
            return state.evolve(phase="learn")
        return state.evolve(phase="publish", stop_reason="the end is reached; no proof was asked")
    used_up = n_decisions(ledger) >= rule.decisions
    open_ends = [] if rule.path else undecided(state.trajectories, ledger)
    against = refuting(ledger, rule)
    complete = len(deciding(ledger, rule)) == rule.n_deciding
    if complete and not against and not open_ends:
        return state.evolve(phase="publish", stop_reason="the labels at the end agree")
    if used_up:
        if ledger.unlearned:
            return state.evolve(phase="learn")
        reason = f"{rule.decisions} rounds of labels decided against the end"
        return state.evolve(phase="publish", stop_reason=reason)
    if open_ends:
        return limited(with_requests(run, state, open_ends))
    refuted = {entry.trajectory for entry in against}
    trajectories = [
        _released(run, t, ledger, rule) if rule.path or t.index in refuted else t
        for t in state.trajectories
    ]
    phase = "learn" if ledger.unlearned else "explore"
    return state.with_trajectories(trajectories).evolve(phase=phase)


def undecided(trajectories: Iterable[TrajectoryDoc], ledger: Ledger) -> list[int]:
    """Return the trajectories whose last configuration has no label that decides.

    One that decided against the weights before may agree with those that have learned it.
    """
    latest = {e.trajectory: e for e in ledger.of("deciding")}
    found = []
    for t in trajectories:
        entry = latest.get(t.index)
        old = entry is None or entry.step != t.md_step
        if old or (entry is not None and _outdated(entry, ledger)):
            found.append(t.index)
    return found


def _outdated(entry: LedgerEntry, ledger: Ledger) -> bool:
    return not entry.within() and entry.generation < ledger.generation


def with_requests(run: OpenRun, state: RunState, indices: Iterable[int]) -> RunState:
    """Return the run with requests of the labels that decide of some trajectories."""
    chosen = set(indices)
    predictor, trajectories = run.predictor(), []
    for t in state.trajectories:
        if t.index in chosen:
            at = MDState.from_arrays(run.workspace.load_md_state(t.md_state))
            atoms, found, assessment = assessed(run, predictor, at, watch_only=True)
            request = request_of(run, t.index, "deciding", t.md_step, atoms, found, assessment)
            t = t.model_copy(update={"requests": (*t.requests, request)})
        trajectories.append(t)
    return state.with_trajectories(trajectories)


def _released(
    run: OpenRun, trajectory: TrajectoryDoc, ledger: Ledger, rule: DecisionRule
) -> TrajectoryDoc:
    """Let a trajectory go on from where its label decided against it, with the label's forces.

    Ends of a path that were decided stay where they are, as fixed points of the next path.
    """
    entry = next((e for e in deciding(ledger, rule) if e.trajectory == trajectory.index), None)
    end = trajectory.index in (0, rule.n_trajectories - 1)
    if rule.path and end and entry is not None and entry.within():
        return trajectory
    state = MDState.from_arrays(run.workspace.load_md_state(trajectory.md_state))
    state = replace(state, integrator={}, screen={})
    if entry is not None and entry.label is not None and entry.step == trajectory.md_step:
        label = run.session.labels.get(entry.label)
        stress = None if label.stress is None else np.array(label.stress)
        energy = label.energy + run.offset
        state = anchored(state.with_results(energy, np.array(label.forces), stress))
    stage = run.spec.trajectories.stages[0]
    return trajectory.model_copy(
        update={
            "md_state": run.workspace.save_md_state(state.to_arrays()),
            "done": False,
            "origin": trajectory.md_step,
            "n_steps": trajectory.md_step + stage.n_steps,
            "supplied": None,
            "requests": (),
        }
    )
