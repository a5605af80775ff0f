"""Flows of a campaign in jobflow-remote: add them, and see which are there.

jobflow-remote is optional and pins old packages, so it is imported only here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jobflow import Flow

__all__ = ["add_flows", "failures", "flow_states", "project_and_workers", "queue_states"]

_HELP = (
    "jobflow-remote is not installed here: it needs an environment of its own, made with "
    '`pip install "onfly[remote]"`'
)
_CAMPAIGN = "job.metadata.onfly.campaign"
_FAILED = ("FAILED", "REMOTE_ERROR")
# jobs that a worker has, or could have; WAITING ones wait for other jobs
_OPEN = ("READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "RUNNING", "BATCH_SUBMITTED")


def _controller(project: str | None) -> Any:
    try:
        from jobflow_remote import JobController
    except ImportError as error:
        raise ModuleNotFoundError(_HELP) from error
    return JobController.from_project_name(project)


def project_and_workers(project: str | None) -> tuple[str, list[str]]:
    """Return the name of a project, by default the user's, and the names of its workers.

    Raises
    ------
    ModuleNotFoundError
        If jobflow-remote is not installed.
    ValueError
        If there is no such project.
    """
    try:
        from jobflow_remote import ConfigManager
        from jobflow_remote.config.base import ConfigError
    except ImportError as error:
        raise ModuleNotFoundError(_HELP) from error
    try:
        found = ConfigManager().get_project(project)
    except ConfigError as error:
        raise ValueError(f"jobflow-remote: {error}") from error
    return found.name, list(found.workers)


def flow_states(project: str | None, campaign: str) -> dict[str, str]:
    """Return by run identifier whether the flow runs, failed or is completed."""
    found: dict[str, set[str]] = {}
    fields = {"job.metadata.onfly.run_id": 1, "state": 1}
    for doc in _controller(project).jobs.find({_CAMPAIGN: campaign}, fields):
        found.setdefault(doc["job"]["metadata"]["onfly"]["run_id"], set()).add(doc["state"])
    return {run_id: _state(states) for run_id, states in found.items()}


def _state(states: set[str]) -> str:
    if states & set(_FAILED):
        return "FAILED"
    return "COMPLETED" if states == {"COMPLETED"} else "RUNNING"


def add_flows(flows: Iterable[tuple[str, Flow]], project: str | None, worker: str) -> Iterator[str]:
    """Submit one flow after the other and yield the identifiers of the runs that are in.

    Parameters
    ----------
    flows
        Identifiers of runs, and their flows, already routed.
    project
        Name of the project; None is the user's default.
    worker
        For jobs that are not routed.
    """
    try:
        from jobflow_remote import submit_flow
    except ImportError as error:
        raise ModuleNotFoundError(_HELP) from error
    for run_id, flow in flows:
        submit_flow(flow, worker=worker, project=project)
        yield run_id


def failures(project: str | None, campaign: str) -> dict[str, str]:
    """Return what failed, and why, for the flows that a failed job holds up."""
    found: dict[str, str] = {}
    query = {_CAMPAIGN: campaign, "state": {"$in": list(_FAILED)}}
    fields = {"job.name": 1, "job.metadata.onfly.run_id": 1, "error": 1, "remote.error": 1}
    for doc in _controller(project).jobs.find(query, fields):
        trace = str(doc.get("error") or (doc.get("remote") or {}).get("error") or "").strip()
        reason = trace.splitlines()[-1] if trace else "no reason was recorded"
        found[doc["job"]["metadata"]["onfly"]["run_id"]] = f"{doc['job']['name']}: {reason}"
    return found


def queue_states(project: str | None, campaign: str) -> dict[str, dict[str, int]]:
    """Return, by run identifier, the numbers of its jobs in each state of jobflow-remote."""
    found: dict[str, dict[str, int]] = {}
    query = {_CAMPAIGN: campaign, "state": {"$in": list(_OPEN)}}
    fields = {"job.metadata.onfly.run_id": 1, "state": 1}
    for doc in _controller(project).jobs.find(query, fields):
        counts = found.setdefault(doc["job"]["metadata"]["onfly"]["run_id"], {})
        counts[doc["state"]] = counts.get(doc["state"], 0) + 1
    return found
