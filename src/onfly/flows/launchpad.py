"""Workflows of a campaign on a FireWorks LaunchPad: add them, and see which are there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

from fireworks import LaunchPad
from jobflow import Flow, JobStore
from jobflow.managers.fireworks import flow_to_workflow

__all__ = ["add_flows", "failures", "queue_states", "reason_of", "workflow_states"]

_BATCH = 20
_CAMPAIGN = "metadata.onfly.campaign"
_RUN = "metadata.onfly.run_id"
# of a job: the workflow of a campaign that learns has jobs of many runs
_JOB_RUN = "spec._tasks.job.metadata.onfly.run_id"


def workflow_states(launchpad: LaunchPad, campaign: str) -> dict[str, str]:
    """Return the states of a campaign's workflows by run identifier.

    Workflows that were archived are as good as none. Those that lack a firework, because their
    submission was interrupted, are deleted.
    """
    found: dict[str, str] = {}
    fields = {_RUN: 1, "state": 1, "nodes": 1, "updated_on": 1}
    for doc in launchpad.workflows.find({_CAMPAIGN: campaign}, fields):
        if doc["state"] == "ARCHIVED":
            continue
        if doc["state"] == "READY" and _is_incomplete(launchpad, doc["nodes"]):
            launchpad.workflows.delete_one({"_id": doc["_id"]})
            launchpad.fireworks.delete_many({"fw_id": {"$in": doc["nodes"]}})
            continue
        found[doc["metadata"]["onfly"]["run_id"]] = doc["state"]
    return found


def _is_incomplete(launchpad: LaunchPad, nodes: list[int]) -> bool:
    return launchpad.fireworks.count_documents({"fw_id": {"$in": nodes}}) < len(nodes)


def add_flows(
    launchpad: LaunchPad,
    flows: Iterable[tuple[str, Flow]],
    campaign: str,
    store: JobStore | None = None,
) -> Iterator[str]:
    """Add one workflow for each flow and yield the identifiers of the runs that are in.

    Parameters
    ----------
    launchpad
        The LaunchPad.
    flows
        Identifiers of runs, and their flows, already routed.
    campaign
        Its name, by which the workflows are found again.
    store
        Job store that is written into the jobs; None lets each worker take that of its jobflow
        configuration.
    """
    for key in (_CAMPAIGN, _RUN):
        launchpad.workflows.create_index(key)
    pending = iter(flows)
    while batch := list(islice(pending, _BATCH)):
        workflows = [
            flow_to_workflow(
                flow,
                store=cast("Any", store),
                metadata={"onfly": {"campaign": campaign, "run_id": run_id}},
            )
            for run_id, flow in batch
        ]
        # Not add_wf, which inserts fireworks before their workflow: a worker that is waiting
        # would take one of a workflow that is not there. The progress bar is for terminals.
        with contextlib.redirect_stderr(io.StringIO()):
            launchpad.bulk_add_wfs(workflows)
        yield from (run_id for run_id, _ in batch)


def failures(launchpad: LaunchPad, campaign: str) -> dict[str, str]:
    """Return what failed, and why, for the workflows that a failed job holds up."""
    query: dict[str, Any] = {_CAMPAIGN: campaign, "state": "FIZZLED"}
    nodes: dict[int, str] = {}
    for doc in launchpad.workflows.find(query, {_RUN: 1, "nodes": 1}):
        nodes |= dict.fromkeys(doc["nodes"], doc["metadata"]["onfly"]["run_id"])
    found: dict[str, str] = {}
    query = {"fw_id": {"$in": list(nodes)}, "state": "FIZZLED"}
    fields = {"fw_id": 1, "name": 1, "launches": 1, _JOB_RUN: 1}
    for firework in launchpad.fireworks.find(query, fields).sort("fw_id", 1):
        launch = launchpad.launches.find_one(
            {"launch_id": {"$in": firework.get("launches", [])}}, sort=[("launch_id", -1)]
        )
        found[_run_of(firework, nodes)] = (
            f"{firework['name']} (firework {firework['fw_id']}): {_reason(launch)}"
        )
    return found


def queue_states(launchpad: LaunchPad, campaign: str) -> dict[str, dict[str, int]]:
    """Return, by run identifier, how many of its jobs run (RUNNING) and wait for a worker.

    Jobs that wait for others of their workflow are not counted.
    """
    nodes: dict[int, str] = {}
    for doc in launchpad.workflows.find({_CAMPAIGN: campaign}, {_RUN: 1, "nodes": 1}):
        nodes |= dict.fromkeys(doc["nodes"], doc["metadata"]["onfly"]["run_id"])
    found: dict[str, dict[str, int]] = {}
    query = {"fw_id": {"$in": list(nodes)}, "state": {"$in": ["READY", "RESERVED", "RUNNING"]}}
    for firework in launchpad.fireworks.find(query, {"fw_id": 1, "state": 1, _JOB_RUN: 1}):
        counts = found.setdefault(_run_of(firework, nodes), {})
        counts[firework["state"]] = counts.get(firework["state"], 0) + 1
    return found


def _run_of(firework: dict[str, Any], nodes: dict[int, str]) -> str:
    """Return the run of a job by its own metadata, or by those of its workflow."""
    for task in (firework.get("spec") or {}).get("_tasks") or ():
        own = ((task.get("job") or {}).get("metadata") or {}).get("onfly") or {}
        if "run_id" in own:
            return str(own["run_id"])
    return nodes[firework["fw_id"]]


def reason_of(launch: dict[str, Any] | None) -> str | None:
    """Return the traceback of a launch that failed; None if it has none: its worker was lost."""
    stored = ((launch or {}).get("action") or {}).get("stored_data") or {}
    trace = str((stored.get("_exception") or {}).get("_stacktrace") or "").strip()
    return trace or None


def _reason(launch: dict[str, Any] | None) -> str:
    trace = reason_of(launch)
    return "its worker was lost" if trace is None else trace.splitlines()[-1]
