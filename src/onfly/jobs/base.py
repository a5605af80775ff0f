"""What all jobs of the loop share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobflow import JobConfig, OnMissing, job

__all__ = ["otf_job"]


def otf_job(
    method: Callable[..., Any] | None = None, *, may_miss: bool = False, **options: Any
) -> Any:
    """Decorate the ``make`` method of a Maker of the loop.

    The manager configuration is not passed on: a GPU segment would hand its worker to the VASP job
    that it spawns.

    Parameters
    ----------
    method
        The method, when the decorator is used without arguments.
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
    return decorator if method is None else decorator(method)
