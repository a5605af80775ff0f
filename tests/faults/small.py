"""A run in this process that takes a part of a second."""

from __future__ import annotations

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.publish import publish_run
from onfly.jobs.resident import run_loop
from onfly.labels.ase import AseLabelMaker
from onfly.rounds.new import new_run
from onfly.session import Session
from onfly.testing.models import toy_spec
from tests.campaign.conftest import metals
from tests.faults.victim import LABELLER

__all__ = ["go", "small_spec"]


def small_spec():
    return toy_spec(
        labeller={"name": "ase", "kwargs": {"calculator": LABELLER}},
        stages=[{"n_steps": 6, "temperature": 300.0, "time_step": 2.0}],
        posterior={"kind": "sghmc", "n_members": 2, "n_steps": 3},
        audit_interval=3,
        checkpoint_interval=3,
        initial_labels=1,
        proof={"coverage": 0.5, "attempts": 1, "steps": 6},
    )


def go(home):
    """Begin a run, or take it up, and publish it."""
    session, structure = Session(), metals(1)[0]
    workspace = RunWorkspace(home / "artifacts", "r")
    fresh = new_run(small_spec(), structure, run_id="r")
    state = workspace.read_state() if workspace.exists() else fresh
    maker = AseLabelMaker(calculator=LABELLER)
    state = run_loop(state, [structure], maker, session=session, n_workers=1)
    if state.phase == "publish":
        state, _ = publish_run(session, state, structure)
        workspace.write_state(state)
    return state
