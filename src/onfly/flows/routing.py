"""Send every job of a flow, and every job that these will start, to the right workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from jobflow import Flow, Job

__all__ = ["GPU_JOBS", "route_jobs"]

GPU_JOBS = ("otf segment", "otf update", "otf initial ensemble", "otf resident", "production")

_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "fireworks": {"gpu": {"_category": "gpu"}, "cpu": {"_category": "cpu"}},
    "remote": {"gpu": {"worker": "gpu"}, "cpu": {"worker": "cpu"}},
}
_REMOTE_KEYS = ("worker", "resources", "exec_config", "priority")


def route_jobs(
    flow: Flow | Job,
    gpu: dict[str, Any] | None = None,
    cpu: dict[str, Any] | None = None,
    manager: Literal["fireworks", "remote"] = "fireworks",
    gpu_jobs: Iterable[str] = GPU_JOBS,
) -> Flow | Job:
    """Set the workers of all jobs, also of those that are started while the flow runs.

    Every job gets the CPU workers first: a worker with a category never takes a job without one.
    Then the jobs that evaluate or train the ensemble get the GPU workers. No job passes its own
    workers on, or a GPU segment would take the labels that it asks for to the GPU.

    Parameters
    ----------
    flow
        Changed in place.
    gpu, cpu
        For FireWorks, keys of the spec, such as ``{"_category": "gpu"}``, ``_fworker`` or
        ``_queueadapter``. For jobflow-remote ``worker``, ``resources``, ``exec_config`` and
        ``priority``. None is the category, or the worker, named ``gpu`` and ``cpu``.
    manager
        ``"fireworks"`` or ``"remote"`` (jobflow-remote).
    gpu_jobs
        Jobs whose name contains one of these go to the GPU workers.

    Returns
    -------
    Flow or Job
        The flow.

    Raises
    ------
    ValueError
        If there is no such manager, or a key means nothing to it.
    """
    if manager not in _DEFAULTS:
        raise ValueError(f"unknown manager {manager!r}: use {' or '.join(_DEFAULTS)}")
    defaults = _DEFAULTS[manager]
    gpu = defaults["gpu"] if gpu is None else gpu
    cpu = defaults["cpu"] if cpu is None else cpu
    for keys in (gpu, cpu):
        _check_keys(keys, manager)
    # as modifications of a dictionary: these copy the configuration, which jobs of one maker share
    everywhere = {"pass_manager_config": False, **_at_manager(cpu)}
    flow.update_config({"_set": everywhere}, dict_mod=True, dynamic=True)
    change: dict[str, dict[str, Any]] = {"_set": _at_manager(gpu)}
    if cpu_only := set(cpu) - set(gpu):
        change["_unset"] = _at_manager(dict.fromkeys(sorted(cpu_only), ""))
    for name in gpu_jobs:
        flow.update_config(change, name_filter=name, dict_mod=True, dynamic=True)
    return flow


def _at_manager(keys: dict[str, Any]) -> dict[str, Any]:
    return {f"manager_config->{key}": value for key, value in keys.items()}


def _check_keys(keys: dict[str, Any], manager: str) -> None:
    if manager == "fireworks":
        wrong = sorted(set(keys) & {"worker", "resources", "exec_config"})
        hint = "FireWorks knows _category, _fworker, _priority and _queueadapter"
    else:
        wrong = sorted(set(keys) - set(_REMOTE_KEYS))
        hint = f"jobflow-remote knows {', '.join(_REMOTE_KEYS)}"
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot route jobs: {hint}")
