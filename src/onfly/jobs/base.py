"""What all jobs of the loop share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from jobflow import Job, JobConfig, OnMissing, job

__all__ = ["ROLE", "Role", "otf_job"]

Role = Literal["gpu", "cpu"]
# key of a job's metadata that says which workers it needs
ROLE = "onfly_role"


def otf_job(
    method: Callable[..., Any] | None = None,
    *,
    role: Role = "cpu",
    may_miss: bool = False,
    **options: Any,
) -> Any:
    """Decorate the ``make`` method of a Maker of the loop.

    The manager configuration is not passed on: a GPU segment would hand its worker to the VASP job
    that it spawns.

    Parameters
    ----------
    method
        The method, when the decorator is used without arguments.
    role
        Which workers the job needs: ``"gpu"`` where the ensemble is evaluated or trained. It is
        kept in the metadata of each job, for `onfly.flows.route_jobs`.
    may_miss
        Whether references to a failed job are None instead of an error: a label that failed is
        counted, it does not end the run.
    **options
        For `jobflow.job`.
    """
    config = JobConfig(
        resolve_references=True,
        on_missing_references=OnMissing.NONE if may_miss else OnMissing.ERROR,
        pass_manager_config=False,
    )
    decorator = job(config=config, **options)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        decorated = decorator(function)

        @wraps(decorated)
        def make(*args: Any, **kwargs: Any) -> Any:
            made = decorated(*args, **kwargs)
            if isinstance(made, Job):  # inside a running job the method itself is called
                made.metadata = {**made.metadata, ROLE: role}
            return made

        return make

    return decorate if method is None else decorate(method)
