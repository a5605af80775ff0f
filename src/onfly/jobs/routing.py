"""Which workers take a job: by its role and by the routes of the flow, both in its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobflow import CURRENT_JOB, Flow, Job

from onfly.jobs.base import ROLE, Role

__all__ = ["ROUTES", "apply_routes", "iterate_jobs", "route_like_current", "set_workers"]

# key of a job's metadata that holds the workers of each role
ROUTES = "onfly_routes"


def iterate_jobs(item: Flow | Job) -> Iterable[Job]:
    """Yield all jobs of a flow."""
    if isinstance(item, Job):
        yield item
        return
    for part in item.jobs:
        yield from iterate_jobs(part)


def set_workers(item: Flow | Job, keys: dict[str, Any], *, dynamic: bool) -> None:
    """Set keys of the manager configuration; with ``dynamic`` also of what the jobs start."""
    changes: dict[str, Any] = {f"manager_config->{key}": value for key, value in keys.items()}
    changes["pass_manager_config"] = False
    # as a modification of a dictionary: this copies what the jobs of one maker share
    item.update_config({"_set": changes}, dict_mod=True, dynamic=dynamic)


def apply_routes(item: Flow | Job, routes: dict[Role, dict[str, Any]]) -> None:
    """Send each job to the workers of its role.

    Jobs without a role, such as those of a labeller, are CPU work, and so is all that they start.
    Jobs of the loop hand the routes on to the jobs that they start.
    """
    for job in iterate_jobs(item):
        role = job.metadata.get(ROLE)
        if role is None:
            set_workers(job, routes["cpu"], dynamic=True)
        else:
            job.metadata = {**job.metadata, ROUTES: routes}
            set_workers(job, routes[role], dynamic=False)


def route_like_current(items: Iterable[Flow | Job]) -> None:
    """Apply the routes of the job that is running to the jobs that it starts."""
    current = CURRENT_JOB.job
    routes = None if current is None else current.metadata.get(ROUTES)
    if routes:
        for item in items:
            apply_routes(item, routes)
