"""A segment job that was killed is run again: the numbers are the same and no label is lost."""

from __future__ import annotations

import os
import signal
import time
from copy import deepcopy

import pytest

from onfly.artifacts.lock import RunLockedError
from onfly.artifacts.workspace import RunWorkspace
from onfly.settings import get_settings
from tests.campaign.conftest import metals
from tests.campaign.managing import Manager


def workspace(run_id):
    return RunWorkspace(get_settings().ARTIFACT_DIR, run_id)


def numbers(run_id):
    """Return ledger, weights and the last MD states: all that must not depend on a kill."""
    run = workspace(run_id).read_state()
    entries = workspace(run_id).read_ledger(run.posterior.n_records).entries
    return (
        [{**entry.model_dump(), "label": None} for entry in entries],
        [m.sha256 for m in run.posterior.ensemble.members],
        [(t.md_state.sha256, t.md_step) for t in run.trajectories],
        run.posterior.n_waits,
    )


def whole_run(maker, structure, store):
    manager = Manager(store)
    manager.submit(maker.make(structure, run_id="whole"))
    manager.run()
    return manager


def killed_after(job, store, seconds):
    """Run a job in a process of its own and kill it; return whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            deepcopy(job).run(store)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


# early and late in a segment; between them with the slow ones
@pytest.mark.parametrize(
    "seconds",
    [0.05, 0.2, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.1, 0.4, 0.8))],
)
def test_a_killed_segment_run_again_gives_the_same_numbers(seconds, make_maker, store):
    maker = make_maker(n_steps=30, audit_interval=3, checkpoint_interval=2)
    structure = metals(1)[0]
    whole_run(maker, structure, store)
    manager = Manager(store)
    manager.submit(maker.make(structure, run_id="killed"))
    while manager.queue:
        manager.run(until="otf round")
        if not manager.queue:
            break
        killed_after(manager.queue[0][0], store, seconds)
        manager.step()
    assert numbers("killed") == numbers("whole")
    # no step is recorded twice, or left out
    (folder,) = workspace("killed").trajectory_folders()
    rows = [
        int(line.split(",")[0])
        for path in folder.thermo_files()
        for line in path.read_text().splitlines()[1:]
    ]
    assert rows == list(range(1, workspace("killed").read_state().md_step + 1))


def test_a_segment_killed_after_its_work_is_not_worked_again(make_maker, store, monkeypatch):
    """Its manager never heard of the end, and starts it again with the arguments it had."""
    maker = make_maker(n_steps=30, audit_interval=3, round_length=5, reuse_labels=False)
    structure = metals(1)[0]
    whole_run(maker, structure, store)
    manager = Manager(store)
    manager.submit(maker.make(structure, run_id="killed"))
    twice = 0
    while manager.queue:
        manager.run(until="otf round")
        if not manager.queue:
            break
        deepcopy(manager.queue[0][0]).run(store)  # whose response is lost
        ended = workspace("killed").read_state()
        with monkeypatch.context() as patch:
            patch.setattr("onfly.rounds.table.explore", _forbidden)
            patch.setattr("onfly.rounds.table.learn", _forbidden)
            manager.step()
        assert workspace("killed").read_state().posterior.round == ended.posterior.round
        twice += 1
    assert twice > 3
    assert numbers("killed") == numbers("whole")
    assert workspace("killed").read_state().n_failures == 0


def test_a_round_that_is_started_again_pays_for_no_label(make_maker, store):
    """A round whose labels were judged may be started again with anything in their place."""
    maker = make_maker(n_steps=30, audit_interval=3, round_length=5, reuse_labels=False)
    structure = metals(1)[0]
    whole_run(maker, structure, store)
    manager = Manager(store)
    manager.submit(maker.make(structure, run_id="killed"))
    manager.run(until="otf round 2")
    before = deepcopy(manager.queue[0][0])
    manager.step()
    state = workspace("killed").read_state()
    before.function_kwargs = {**before.function_kwargs, "outputs": [None] * 9}
    before.run(store)
    again = workspace("killed").read_state()
    assert again.posterior.n_labels == state.posterior.n_labels
    assert again.n_failures == state.n_failures
    manager.run()
    assert numbers("killed") == numbers("whole")


def test_two_workers_cannot_run_one_segment(make_maker, store):
    manager = Manager(store)
    manager.submit(make_maker().make(metals(1)[0], run_id="r"))
    manager.run(until="otf round")
    with workspace("r").lock(), pytest.raises(RunLockedError, match="is being worked on"):
        deepcopy(manager.queue[0][0]).run(store)


def _forbidden(*args, **kwargs):
    raise AssertionError("done twice")
