"""What a dead server or worker left of a campaign, made by hand, and what `mend` makes of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from fireworks import FWorker
from fireworks.core.rocket_launcher import launch_rocket

from onfly.artifacts.workspace import RunWorkspace
from onfly.flows.looking import look
from onfly.flows.mending import _Work, mend
from onfly.labels.answers import answer_lock
from tests.faults.fleet import shift_clock

pytestmark = [pytest.mark.mongo, pytest.mark.fireworks]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Launches write into the working directory."""
    monkeypatch.chdir(tmp_path)


def launch(fleet, name):
    """Run the first job of a name that is ready, here."""
    query = {"name": {"$regex": f"^{name}"}, "state": "READY"}
    doc = fleet.launchpad.fireworks.find_one(query, {"fw_id": 1})
    launch_rocket(fleet.launchpad, FWorker(), fw_id=doc["fw_id"])
    return doc["fw_id"]


# -- two workers on one job ---------------------------------------------------------------------
def test_two_workers_on_one_label(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    launch(one, "otf round")
    (request,) = [r.key for r in RunWorkspace(one.artifacts, "r0").read_state().requests]
    with answer_lock("r0", request):  # another worker is on it
        fw_id = launch(one, "ase label")
        assert one.launchpad.get_fw_by_id(fw_id).state == "FIZZLED"
        assert one.paid()[0] == []
    found = mend(one.launchpad, "c", one.artifacts, expiration=60, pause=0.1)
    assert [(item.fw_id, item.done) for item in found] == []  # the round goes on without it
    launch(one, "otf round")  # and asks for it again, without calling it a failure
    state = RunWorkspace(one.artifacts, "r0").read_state()
    assert state.n_failures == 0
    assert [r.key for r in state.requests] == [request]
    launch(one, "ase label")
    assert len(one.paid()[0]) == 1
    launch(one, "otf round")
    assert RunWorkspace(one.artifacts, "r0").read_state().posterior.n_labels >= 1


def test_a_label_that_is_run_again_after_its_end_is_not_paid_again(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    launch(one, "otf round")
    fw_id = launch(one, "ase label")
    assert len(one.paid()[0]) == 1
    one.launchpad.rerun_fw(fw_id)
    assert launch(one, "ase label") == fw_id
    assert len(one.paid()[0]) == 1
    launch(one, "otf round")
    assert RunWorkspace(one.artifacts, "r0").read_state().posterior.n_labels >= 1


def test_two_workers_on_one_round(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    with RunWorkspace(one.artifacts, "r0").lock():
        fw_id = launch(one, "otf round")
    assert one.launchpad.get_fw_by_id(fw_id).state == "FIZZLED"
    found = mend(one.launchpad, "c", one.artifacts, expiration=60, pause=0.1)
    assert [(item.fw_id, item.done) for item in found] == [(fw_id, "run again")]
    assert "is being worked on" in found[0].found
    assert launch(one, "otf round") == fw_id


def test_a_job_that_is_at_work_is_not_lost(fleet):
    """FireWorks' sign of life ends when the database is away for a moment; the lock does not."""
    one = fleet(n_compounds=1)
    one.submit()
    with RunWorkspace(one.artifacts, "r0").lock():
        _taken(one, "otf round")
        time.sleep(0.3)
        found = mend(one.launchpad, "c", one.artifacts, expiration=0.2, pause=0.1)
        assert ["left alone" in item.done for item in found] == [True]
        assert "is being worked on by process" in found[0].done
    found = mend(one.launchpad, "c", one.artifacts, expiration=0.2, pause=0.1)
    assert [item.done for item in found] == ["run again"]
    launch(one, "otf round")


def _taken(fleet, name):
    """Take a job as a worker does that dies at once."""
    query = {"name": {"$regex": f"^{name}"}, "state": "READY"}
    fw_id = fleet.launchpad.fireworks.find_one(query, {"fw_id": 1})["fw_id"]
    return fleet.launchpad.checkout_fw(FWorker(), ".", fw_id=fw_id)


# -- clocks -------------------------------------------------------------------------------------
@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_a_clock_that_is_ten_minutes_off(fleet, monkeypatch, minutes):
    one = fleet(n_compounds=1)
    one.submit()
    with monkeypatch.context() as patch:
        shift_clock(60.0 * minutes, patch.setattr)
        firework, launch_id = _taken(one, "otf round")
    history = one.launchpad.launches.find_one({"launch_id": launch_id})["state_history"]
    told = datetime.fromisoformat(history[0]["created_on"])
    assert abs((told - datetime.now(UTC)).total_seconds() - 60 * minutes) < 60
    kinds = [s.kind for s in look(one.launchpad, "c", expiration=60).suspicions]
    assert "lost" not in kinds  # although it says so itself
    time.sleep(4)
    found = mend(one.launchpad, "c", one.artifacts, expiration=3, pause=0.1)
    assert [(item.fw_id, item.done) for item in found] == [(firework.fw_id, "run again")]
    assert launch(one, "otf round") == firework.fw_id


# -- each kind of contradiction, made by hand ---------------------------------------------------
def mended(fleet, **options):
    return mend(fleet.launchpad, "c", fleet.artifacts, expiration=60, pause=0.1, **options)


def test_an_outcome_that_was_written_half(fleet):
    """The server died after launch and firework were written, and before the workflow was."""
    one = fleet(n_compounds=1)
    one.submit()
    before = one.launchpad.workflows.find_one({})
    first = launch(one, "otf round")
    after = one.launchpad.workflows.find_one({})
    assert len(after["nodes"]) > len(before["nodes"])
    one.launchpad.workflows.replace_one({"_id": before["_id"]}, before)
    orphans = set(after["nodes"]) - set(before["nodes"])
    assert "had ended" in mended(one, dry_run=True)[0].found
    found = mended(one)
    assert (first, "its outcome is applied") in [(item.fw_id, item.done) for item in found]
    archived = {d["fw_id"] for d in one.launchpad.fireworks.find({"state": "ARCHIVED"})}
    assert archived == orphans
    assert mended(one) == []
    launch(one, "ase label")
    launch(one, "otf round")
    assert len(one.paid()[0]) == 1


def test_an_outcome_that_a_slow_worker_has_written_meanwhile_is_left_alone(fleet):
    """Between the second look and the deed: it would start the label twice."""
    one = fleet(n_compounds=1)
    one.submit()
    before = one.launchpad.workflows.find_one({})
    first = launch(one, "otf round")
    whole = one.launchpad.workflows.find_one({})
    one.launchpad.workflows.replace_one({"_id": before["_id"]}, before)
    seen = look(one.launchpad, "c", expiration=60)
    one.launchpad.workflows.replace_one({"_id": whole["_id"]}, whole)
    (ended,) = [s for s in seen.suspicions if s.kind == "ended"]
    work = _Work(one.launchpad, seen, one.artifacts, rerun_failed=False, dry_run=False)
    assert ended.fw_id == first
    assert work.do(ended) is None
    after = one.launchpad.workflows.find_one({})
    assert (after["nodes"], after["fw_states"]) == (whole["nodes"], whole["fw_states"])
    assert "locked" not in after


def test_an_outcome_that_was_written_but_for_its_state(fleet):
    """What was spawned is there: it must not be spawned again."""
    one = fleet(n_compounds=1)
    one.submit()
    first = launch(one, "otf round")
    nodes = one.launchpad.workflows.find_one({})["nodes"]
    one.launchpad.fireworks.update_one({"fw_id": first}, {"$set": {"state": "FIZZLED"}})
    one.launchpad.workflows.update_one({}, {"$set": {f"fw_states.{first}": "FIZZLED"}})
    found = mended(one)
    assert [(item.fw_id, item.done) for item in found] == [(first, "its outcome is applied")]
    assert one.launchpad.workflows.find_one({})["nodes"] == nodes
    assert one.launchpad.get_fw_by_id(first).state == "COMPLETED"
    assert mended(one) == []


def test_a_job_that_was_taken_and_never_begun(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    doc = one.launchpad.fireworks.find_one({"name": {"$regex": "^otf round"}})
    states = {"state": "RESERVED", "launches": []}
    one.launchpad.fireworks.update_one({"fw_id": doc["fw_id"]}, {"$set": states})
    found = mended(one)
    assert [(item.fw_id, item.done) for item in found] == [(doc["fw_id"], "free again")]
    assert launch(one, "otf round") == doc["fw_id"]


def test_a_workflow_that_nobody_holds(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    one.launchpad.workflows.update_one({}, {"$set": {"locked": True}})
    assert [item.done for item in mended(one)] == ["unlocked"]
    assert "locked" not in one.launchpad.workflows.find_one({})


def test_states_that_are_old(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    doc = one.launchpad.fireworks.find_one({"name": {"$regex": "^otf round"}})
    one.launchpad.workflows.update_one({}, {"$set": {f"fw_states.{doc['fw_id']}": "RUNNING"}})
    assert [item.done for item in mended(one)] == ["computed anew"]
    assert one.launchpad.workflows.find_one({})["fw_states"][str(doc["fw_id"])] == "READY"


def test_a_failure_with_a_reason_is_left_until_it_is_mended(fleet, monkeypatch):
    one = fleet(n_compounds=1)
    one.submit()
    with monkeypatch.context() as patch:
        patch.setattr("onfly.rounds.table.start_run", _broken)
        fw_id = launch(one, "otf round")
    (item,) = mended(one)
    assert item.left
    assert "no such foundation" in item.found
    assert "mend the cause" in item.done
    assert [i.done for i in mended(one, rerun_failed=True)] == ["run again"]
    assert launch(one, "otf round") == fw_id


def _broken(*args, **kwargs):
    raise RuntimeError("no such foundation")


def test_a_workflow_at_its_end_whose_run_is_not(fleet):
    one = fleet(n_compounds=1)
    one.submit()
    one.launchpad.workflows.update_one({}, {"$set": {"state": "COMPLETED"}})
    found = [item for item in mended(one) if item.fw_id is None]
    assert [item.left for item in found] == [True]
    assert "`onfly submit` the campaign again" in found[0].done
    assert one.launchpad.workflows.find_one({})["state"] == "ARCHIVED"
