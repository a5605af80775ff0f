"""One look at a campaign on a LaunchPad: what contradicts itself, or has not been heard of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fireworks import LaunchPad
from pymongo.errors import OperationFailure

__all__ = ["Look", "Suspicion", "look"]

_CAMPAIGN = "metadata.onfly.campaign"
_ACTIVE = ("WAITING", "READY", "RESERVED", "RUNNING", "FIZZLED")
_AT_WORK = ("READY", "RESERVED", "RUNNING")
# what two clocks may differ by without being wrong; ObjectIds have whole seconds
_CLOCK_NOISE = timedelta(seconds=2)
# in which order they are mended
_ORDER = ("locked", "ended", "behind", "orphan", "lost", "unborn", "twice", "failed")


@dataclass(frozen=True)
class Suspicion:
    """Something that is wrong, unless a worker is just about to put it right.

    Parameters
    ----------
    kind
        See the table of `onfly.flows.mending`.
    run_id, fw_id
        Where.
    key
        Of the document to change, where that is not the firework.
    seen
        What must be the same at the second look.
    last
        For a lost launch: whether the firework has no other that may be alive.
    """

    kind: str
    run_id: str | None
    fw_id: int | None
    key: Any = None
    seen: Any = None
    last: bool = True


@dataclass
class Look:
    """The documents of a campaign at one moment."""

    launchpad: LaunchPad
    workflows: list[dict[str, Any]]
    fireworks: dict[int, dict[str, Any]]
    launches: dict[int, dict[str, Any]]
    suspicions: list[Suspicion] = field(default_factory=list)

    def is_busy(self, suspicion: Suspicion, before: Look) -> bool:
        """Whether somebody writes to the workflow of a suspicion just now."""
        if suspicion.kind == "locked":
            return False
        stuck = {s.key for s in self.suspicions if s.kind == "locked" and s in before.suspicions}
        return any(
            w.get("locked") and w["_id"] not in stuck
            for w in self.workflows
            if w["metadata"]["onfly"]["run_id"] == suspicion.run_id
        )

    def workflow_of(self, fw_id: int) -> dict[str, Any]:
        """Return the workflow that a firework belongs to."""
        return next(w for w in self.workflows if fw_id in w["nodes"])

    def nodes_of(self, fw_id: int) -> list[int]:
        """Return all fireworks of the workflow of one of them."""
        return list(self.workflow_of(fw_id)["nodes"])

    def children_of(self, fw_id: int) -> list[int]:
        """Return the fireworks that wait for one."""
        return [int(child) for child in self.workflow_of(fw_id)["links"].get(str(fw_id), [])]

    def state_of(self, fw_id: int) -> str:
        """Return the state of a firework."""
        return str(self.fireworks[fw_id]["state"])

    def last_launch(self, fw_id: int) -> dict[str, Any] | None:
        """Return the newest launch of a firework with its outcome."""
        ids = self.fireworks[fw_id].get("launches", [])
        return self.launchpad.launches.find_one({"launch_id": max(ids)}) if ids else None

    def n_launches(self, fw_id: int) -> int:
        """Return how often a firework was begun."""
        doc = self.fireworks[fw_id]
        return len(doc.get("launches", [])) + len(doc.get("archived_launches", []))

    def jobs(self, fw_ids: Iterable[int]) -> set[tuple[str, int]]:
        """Return uuid and index of the jobs of fireworks."""
        query = {"fw_id": {"$in": list(fw_ids)}}
        docs = self.launchpad.fireworks.find(query, {"spec._tasks": 1})
        jobs = [_job(doc) for doc in docs]
        return {(job["uuid"], job["index"]) for job in jobs if "uuid" in job}

    def job_of(self, fw_id: int) -> dict[str, Any]:
        """Return the job of a firework, as the LaunchPad holds it."""
        return _job(self.launchpad.fireworks.find_one({"fw_id": fw_id}, {"spec._tasks": 1}))


def look(launchpad: LaunchPad, campaign: str, expiration: float) -> Look:
    """Read the documents of a campaign, and say what is suspicious.

    Parameters
    ----------
    launchpad
        Its LaunchPad.
    campaign
        Its name.
    expiration
        Seconds after which a job that was not heard of is lost.
    """
    workflows = [
        doc for doc in launchpad.workflows.find({_CAMPAIGN: campaign}) if doc["state"] != "ARCHIVED"
    ]
    nodes = [node for doc in workflows for node in doc["nodes"]]
    fields = {"fw_id": 1, "state": 1, "launches": 1, "archived_launches": 1, "updated_on": 1}
    found = launchpad.fireworks.find({"fw_id": {"$in": nodes}}, fields)
    fireworks = {doc["fw_id"]: doc for doc in found}
    # outcomes are large, and are read where they are needed
    found = launchpad.launches.find({"fw_id": {"$in": nodes}}, {"action": 0})
    launches = {doc["launch_id"]: doc for doc in found}
    view = Look(launchpad, workflows, fireworks, launches)
    now = _server_time(launchpad)
    for workflow in workflows:
        view.suspicions += _of_workflow(view, workflow)
        for fw_id in workflow["nodes"]:
            if fw_id in fireworks:
                view.suspicions += _of_firework(view, workflow, fireworks[fw_id])
    for launch in launches.values():
        view.suspicions += _of_launch(view, launch, now, expiration)
    view.suspicions += _orphans(launchpad, campaign, set(nodes))
    view.suspicions.sort(key=lambda s: (_ORDER.index(s.kind), s.fw_id or 0))
    return view


def _of_workflow(view: Look, workflow: dict[str, Any]) -> Iterable[Suspicion]:
    run_id = workflow["metadata"]["onfly"]["run_id"]
    if workflow.get("locked"):
        seen = str(workflow.get("updated_on"))
        yield Suspicion("locked", run_id, None, workflow["_id"], seen)
    states = {n: view.fireworks[n]["state"] for n in workflow["nodes"] if n in view.fireworks}
    if any(state in _AT_WORK for state in states.values()):
        return
    for fw_id, state in states.items():
        children = [states.get(child) for child in view.children_of(fw_id)]
        # a label that failed, and without which its run has gone on, has a child that is completed
        if state == "FIZZLED" and "COMPLETED" not in children and not _ended_launch(view, fw_id):
            yield Suspicion("failed", run_id, fw_id, seen=view.n_launches(fw_id))


def _of_firework(view: Look, workflow: dict[str, Any], doc: dict[str, Any]) -> Iterable[Suspicion]:
    run_id, fw_id, state = workflow["metadata"]["onfly"]["run_id"], doc["fw_id"], doc["state"]
    told = workflow.get("fw_states", {}).get(str(fw_id))
    ended = _ended_launch(view, fw_id)
    running = [n for n in doc.get("launches", []) if _launch_state(view, n) == "RUNNING"]
    if ended is not None and (state != "COMPLETED" or told != "COMPLETED"):
        if state not in ("ARCHIVED", "DEFUSED", "PAUSED"):
            yield Suspicion("ended", run_id, fw_id, ended, (state, told))
    elif state in ("RUNNING", "RESERVED") and not doc.get("launches"):
        yield Suspicion("unborn", run_id, fw_id, seen=str(doc.get("updated_on")))
    elif told != state or (state == "RUNNING" and not _alive(view, doc)):
        yield Suspicion("behind", run_id, fw_id, seen=(state, told))
    if len(running) > 1:
        yield Suspicion("twice", run_id, fw_id, seen=tuple(running))


def _of_launch(
    view: Look, launch: dict[str, Any], now: datetime, expiration: float
) -> Iterable[Suspicion]:
    if launch["state"] != "RUNNING":
        return
    heard = _last_heard(launch)
    if heard is None or (now - heard).total_seconds() < expiration:
        return
    fw_id = launch["fw_id"]
    others = [n for n in view.fireworks[fw_id].get("launches", []) if n != launch["launch_id"]]
    last = not any(_launch_state(view, n) in ("RUNNING", "COMPLETED") for n in others)
    run_id = view.workflow_of(fw_id)["metadata"]["onfly"]["run_id"]
    yield Suspicion("lost", run_id, fw_id, launch["launch_id"], str(heard), last)


def _orphans(launchpad: LaunchPad, campaign: str, nodes: set[int]) -> Iterable[Suspicion]:
    """Return jobs of the campaign that no workflow knows, of which a worker may take one."""
    active = launchpad.fireworks.find({"state": {"$in": list(_ACTIVE)}}, {"fw_id": 1})
    strangers = {doc["fw_id"] for doc in active} - nodes
    if not strangers:
        return
    owned = launchpad.workflows.find({"nodes": {"$in": list(strangers)}}, {"nodes": 1})
    strangers -= {node for doc in owned for node in doc["nodes"]}
    query = {"fw_id": {"$in": sorted(strangers)}}
    for doc in launchpad.fireworks.find(query, {"fw_id": 1, "spec._tasks": 1}):
        ours = (_job(doc).get("metadata") or {}).get("onfly") or {}
        if ours.get("campaign") == campaign:
            yield Suspicion("orphan", ours.get("run_id"), doc["fw_id"])


def _job(doc: dict[str, Any] | None) -> dict[str, Any]:
    tasks = ((doc or {}).get("spec") or {}).get("_tasks") or [{}]
    return tasks[0].get("job") or {}


def _launch_state(view: Look, launch_id: int) -> str | None:
    launch = view.launches.get(launch_id)
    return None if launch is None else str(launch["state"])


def _ended_launch(view: Look, fw_id: int) -> int | None:
    """Return the launch of a firework that has done its work, or None."""
    ids = view.fireworks[fw_id].get("launches", [])
    return next((n for n in ids if _launch_state(view, n) == "COMPLETED"), None)


def _alive(view: Look, doc: dict[str, Any]) -> bool:
    return any(_launch_state(view, n) in ("RUNNING", "RESERVED") for n in doc.get("launches", []))


def _server_time(launchpad: LaunchPad) -> datetime:
    """Return the time of the server: the clock of this machine may be wrong."""
    try:
        told = launchpad.db.command("hello").get("localTime")
    except OperationFailure:  # a server that is older than the command
        told = None
    return datetime.now(UTC) if told is None else _aware(told)


def _last_heard(launch: dict[str, Any]) -> datetime | None:
    """Return when a running launch last reported, by the clock of the server.

    The server writes its own time into the identifier of the document when the worker takes the
    job: what the worker's clock said at that moment tells how much it is off.
    """
    history = launch.get("state_history") or []
    running = [entry for entry in history if entry.get("state") == "RUNNING"]
    if not running:
        return None
    heard = _aware(running[-1].get("updated_on") or running[-1]["created_on"])
    made = getattr(launch["_id"], "generation_time", None)
    if made is not None and history[0] is running[0]:  # not one that was reserved elsewhere
        off = _aware(running[0]["created_on"]) - _aware(made)
        if abs(off) > _CLOCK_NOISE:
            heard -= off
    return heard


def _aware(value: Any) -> datetime:
    date = datetime.fromisoformat(value) if isinstance(value, str) else value
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
