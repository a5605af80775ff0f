"""Put right what a dead worker or a dead server left of a campaign on a FireWorks LaunchPad.

FireWorks writes a job's end in several steps without a transaction: launch, fireworks, workflow. A
process that dies in between leaves them contradicting each other, and the campaign waits for ever.
All steps here may be repeated, and none of them computes a label that is on disk.

| what is found | what is done |
|---|---|
| a job that is not heard of any more | it is run again |
| a job that was taken, and never begun | it is free again |
| a job that has ended, of which its workflow does not know | its stored outcome is applied |
| states in a workflow that are older than those of its jobs | they are computed anew |
| jobs that belong to no workflow | they are archived: a worker that takes one dies of it |
| a workflow that is locked by nobody | it is unlocked |
| a job that failed by accident, and holds its run up | it is run again |
| a workflow that is at its end while its run is not | it is archived, to be submitted again |

A job may look dead for a moment while a worker writes. What is mended looked the same twice, with
a pause between.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fireworks import LaunchPad
from fireworks.core.launchpad import LockedWorkflowError, WFLock

from onfly.artifacts.lock import RunLockedError
from onfly.artifacts.workspace import RunWorkspace
from onfly.flows.launchpad import reason_of
from onfly.flows.looking import Look, Suspicion, look
from onfly.labels.answers import answer_lock

__all__ = ["Mending", "mend"]

logger = logging.getLogger(__name__)

# of a traceback that says nothing against the job: the database, or another worker
_ACCIDENT = re.compile(
    r"pymongo\.errors\.|AutoReconnect|ServerSelectionTimeout|NetworkTimeout|ConnectionFailure|"
    r"Could not find workflow|LockedWorkflowError|RunLockedError|failed to deserialize"
)
# failing again and again is no accident
_MOST_LAUNCHES = 10


@dataclass(frozen=True)
class Mending:
    """One thing that was wrong.

    Parameters
    ----------
    run_id, fw_id
        Where, as far as known.
    found
        What was wrong.
    done
        What was done about it.
    left
        Whether it is left for somebody to do.
    """

    run_id: str | None
    fw_id: int | None
    found: str
    done: str
    left: bool = False

    def __str__(self) -> str:
        where = self.run_id or "LaunchPad"
        where += "" if self.fw_id is None else f", firework {self.fw_id}"
        return f"{where}: {self.found}: {self.done}"


def mend(
    launchpad: LaunchPad,
    campaign: str,
    artifact_dir: Path,
    *,
    expiration: float,
    pause: float = 30.0,
    rerun_failed: bool = False,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Mending]:
    """Mend a campaign; what was wrong is returned.

    Parameters
    ----------
    launchpad
        Its LaunchPad.
    campaign
        Its name.
    artifact_dir
        Of the workers, to see which runs are at work and which have ended.
    expiration
        Seconds after which a job that was not heard of is lost. Counted by the clock of the
        server, and corrected by what the clock of the worker was off when it took the job.
    pause
        Seconds between the two looks: longer than any worker needs to write an outcome.
    rerun_failed
        Also run those again that failed for a reason of their own, since it was mended.
    dry_run
        Say what would be done.
    sleep
        For tests.

    Raises
    ------
    pymongo.errors.PyMongoError
        If the server does not answer. What was mended until then is mended.
    """
    before = look(launchpad, campaign, expiration)
    if not before.suspicions:
        return list(_ended(launchpad, before, artifact_dir, dry_run))
    sleep(pause)
    now = look(launchpad, campaign, expiration)
    work = _Work(launchpad, now, artifact_dir, rerun_failed, dry_run)
    found: list[Mending] = []
    # those that looked the same twice, in the order in which they build on each other
    for suspicion in now.suspicions:
        if suspicion not in before.suspicions or now.is_busy(suspicion, before):
            continue
        try:
            mended = work.do(suspicion)
        except LockedWorkflowError:
            mended = Mending(
                suspicion.run_id,
                suspicion.fw_id,
                "its workflow is locked by a worker",
                "call this again in a moment",
                left=True,
            )
        if mended is not None:
            found.append(mended)
    return [*found, *_ended(launchpad, now, artifact_dir, dry_run)]


class _Work:
    """The deeds."""

    def __init__(
        self,
        launchpad: LaunchPad,
        now: Look,
        artifact_dir: Path,
        rerun_failed: bool,
        dry_run: bool,
    ) -> None:
        self.launchpad, self.now, self.artifact_dir = launchpad, now, artifact_dir
        self.rerun_failed, self.dry_run = rerun_failed, dry_run
        self.done: set[int] = set()

    def do(self, suspicion: Suspicion) -> Mending | None:
        """Mend one thing; None if there is nothing to do after all."""
        fw_id = suspicion.fw_id
        if fw_id is not None and fw_id in self.done:
            return None  # done with the one before
        mended: Mending | None = getattr(self, f"_{suspicion.kind}")(suspicion)
        if fw_id is not None and mended is not None and not mended.left:
            self.done.add(fw_id)
        return mended

    def _say(self, of: Suspicion, found: str, done: str, left: bool = False) -> Mending:
        return Mending(of.run_id, of.fw_id, found, done, left)

    def _locked(self, of: Suspicion) -> Mending:
        if not self.dry_run:
            self.launchpad.workflows.update_one(
                {"_id": of.key, "locked": True}, {"$unset": {"locked": True}}
            )
        return self._say(of, "the workflow was locked by nobody", "unlocked")

    def _ended(self, of: Suspicion) -> Mending | None:
        """Apply the outcome that a launch has stored."""
        if not self.dry_run and not self._apply(_id(of), of.key):
            return None
        return self._say(of, "had ended, and its workflow did not know", "its outcome is applied")

    def _apply(self, fw_id: int, launch_id: Any) -> bool:
        """Apply an outcome; return whether there was something to do."""
        launchpad = self.launchpad
        action = launchpad.get_launch_by_id(launch_id).action
        flows = [*(action.detours or []), *(action.additions or [])] if action else []
        spawned = {_job(firework) for flow in flows for firework in flow.fws}
        # with a slow server, a worker may have written all this since, or be about to
        with WFLock(launchpad, fw_id):
            workflow = launchpad.workflows.find_one({"nodes": fw_id}, {"nodes": 1, "fw_states": 1})
            doc = launchpad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
            if {doc["state"], workflow["fw_states"].get(str(fw_id))} == {"COMPLETED"}:
                return False
            # all but the last write was done: doing it again would start these jobs twice
            settled = bool(spawned) and spawned <= self.now.jobs(workflow["nodes"])
            if not settled:
                # FireWorks applies an outcome when a firework turns from running to completed
                running = {"$set": {"state": "RUNNING"}}
                launchpad.fireworks.update_one({"fw_id": fw_id}, running)
                running = {"$set": {f"fw_states.{fw_id}": "RUNNING"}}
                launchpad.workflows.update_one({"nodes": fw_id}, running)
        if settled:
            self._settle(fw_id)
        else:
            launchpad._refresh_wf(fw_id)
        return True

    def _settle(self, fw_id: int) -> None:
        """Complete a firework whose outcome is in its workflow already."""
        launchpad, done = self.launchpad, {"$set": {"state": "COMPLETED"}}
        ids = self.now.fireworks[fw_id].get("launches", [])
        if ids:
            launchpad.launches.update_one({"launch_id": max(ids)}, done)
        launchpad.fireworks.update_one({"fw_id": fw_id}, done)
        launchpad.workflows.update_one(
            {"nodes": fw_id}, {"$set": {f"fw_states.{fw_id}": "COMPLETED"}}
        )
        for child in self.now.children_of(fw_id):
            launchpad._refresh_wf(child)

    def _behind(self, of: Suspicion) -> Mending:
        if not self.dry_run:
            self.launchpad._refresh_wf(_id(of))
        return self._say(of, "its workflow had another state of it", "computed anew")

    def _unborn(self, of: Suspicion) -> Mending:
        if not self.dry_run:
            self.launchpad.rerun_fw(_id(of))
        return self._say(of, "was taken by a worker that died before it began", "free again")

    def _lost(self, of: Suspicion) -> Mending | None:
        fw_id = _id(of)
        if owner := self._at_work(of.run_id, fw_id):
            done = f"left alone: {owner}"
            return self._say(of, "is not heard of by the server", done, left=False)
        often = self.now.n_launches(fw_id) >= _MOST_LAUNCHES
        if not self.dry_run:
            # freed before the launch is marked: were it the other way round, the next job of the
            # chain would begin for a moment, without this one
            if self.now.state_of(fw_id) == "RUNNING" and of.last and not often:
                self.launchpad.rerun_fw(fw_id)
            self.launchpad.mark_fizzled(of.key)
        if often:
            todo = "look why its workers die (memory?), then call this with --failed"
            return self._say(of, f"its worker was lost {_MOST_LAUNCHES} times", todo, left=True)
        return self._say(of, "its worker was lost", "run again")

    def _at_work(self, run_id: str | None, fw_id: int) -> str | None:
        """Return who holds the lock of a job on this file system, or None.

        FireWorks' sign of life ends for good when the database is away for a moment, while the job
        goes on.
        """
        job = self.now.job_of(fw_id)
        lock: AbstractContextManager[Any]
        request = ((job.get("function") or {}).get("@bound") or {}).get("request")
        if request:
            lock = answer_lock(request["run_id"], request["key"])
        elif run_id is not None and (job.get("metadata") or {}).get("onfly_role") == "gpu":
            workspace = RunWorkspace(self.artifact_dir, run_id)
            lock = workspace.lock() if workspace.folder.is_dir() else nullcontext()
        else:
            return None
        try:
            with lock:
                return None
        except RunLockedError as error:
            return str(error).partition(":")[0]

    def _orphan(self, of: Suspicion) -> Mending:
        if not self.dry_run:
            self.launchpad.fireworks.update_one(
                {"fw_id": of.fw_id}, {"$set": {"state": "ARCHIVED"}}
            )
        return self._say(of, "belongs to no workflow", "archived")

    def _failed(self, of: Suspicion) -> Mending:
        reason = reason_of(self.now.last_launch(_id(of)))
        accident = reason is None or bool(_ACCIDENT.search(reason))
        short = "its worker was lost" if reason is None else reason.strip().splitlines()[-1]
        job = self.now.job_of(_id(of))
        following = (job.get("uuid"), job.get("index", 0) + 1)
        if following in self.now.jobs(self.now.nodes_of(_id(of))):
            # its outcome is there: it failed afterwards, when it told the database
            if not self.dry_run:
                self._settle(_id(of))
            return self._say(of, f"failed ({short}) after its work", "its outcome stands")
        often = self.now.n_launches(_id(of)) >= _MOST_LAUNCHES
        if self.rerun_failed or (accident and not often):
            if not self.dry_run:
                self.launchpad.rerun_fw(_id(of))
            return self._say(of, f"failed ({short})", "run again")
        todo = "mend the cause, then call this with --failed"
        return self._say(of, f"failed ({short})", todo, left=True)

    def _twice(self, of: Suspicion) -> Mending:
        done = "the second is refused by the lock of the run, or finds the label of the first"
        return self._say(of, "is being run by two workers", done)


def _ended(launchpad: LaunchPad, now: Look, artifact_dir: Path, dry_run: bool) -> Iterator[Mending]:
    """Archive workflows that are at their end although their run is not."""
    for workflow in now.workflows:
        if workflow["state"] != "COMPLETED":
            continue
        run_id = workflow["metadata"]["onfly"]["run_id"]
        workspace = RunWorkspace(artifact_dir, run_id)
        try:
            phase = workspace.read_state().phase
        except FileNotFoundError:
            phase = "start"
        except ValueError as error:
            yield Mending(run_id, None, str(error), "see `onfly doctor --verify`", left=True)
            continue
        if phase not in ("done", "stopped"):
            if not dry_run:
                launchpad.archive_wf(workflow["nodes"][0])
            found = f"its workflow is completed, while the run is in phase {phase}"
            todo = "archived; `onfly submit` the campaign again, which takes it up"
            yield Mending(run_id, None, found, todo, left=True)


def _id(of: Suspicion) -> int:
    assert of.fw_id is not None
    return of.fw_id


def _job(firework: Any) -> tuple[str, int]:
    job = firework.tasks[0]["job"]
    return (job["uuid"], job["index"]) if isinstance(job, dict) else (job.uuid, job.index)
