"""Send every job of a flow, and every job that these will start, to the right workers."""

from __future__ import annotations

from typing import Any, Literal

from jobflow import Flow, Job

from onfly.jobs.routing import apply_routes

__all__ = ["route_jobs"]

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
) -> Flow | Job:
    """Set the workers of all jobs, also of those that are started while the flow runs.

    Jobs that evaluate or train the ensemble get the GPU workers, all others the CPU workers: a
    FireWorks worker with a category never takes a job without one. Which is which is written in
    the metadata of each job when it is made; names do not matter.

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

    Returns
    -------
    Flow or Job
        The flow.

    Raises
    ------
    ValueError
        If there is no such manager, or a key means nothing to it.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from onfly import OnTheFlyMaker, label_maker
    >>> copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> maker = OnTheFlyMaker(foundation_model="toy", threshold="50 meV", n_steps=100,
    ...                       temperature=300, label_maker=label_maker("emt"))
    >>> flow = route_jobs(maker.make(copper), gpu={"_category": "a100"}, cpu={"_category": "cpu"})
    >>> [job.config.manager_config for job in flow.jobs]
    [{'_category': 'a100'}, {'_category': 'cpu'}]
    """
    if manager not in _DEFAULTS:
        raise ValueError(f"unknown manager {manager!r}: use {' or '.join(_DEFAULTS)}")
    defaults = _DEFAULTS[manager]
    gpu = defaults["gpu"] if gpu is None else gpu
    cpu = defaults["cpu"] if cpu is None else cpu
    for keys in (gpu, cpu):
        _check_keys(keys, manager)
    apply_routes(flow, {"gpu": gpu, "cpu": cpu})
    return flow


def _check_keys(keys: dict[str, Any], manager: str) -> None:
    if manager == "fireworks":
        wrong = sorted(set(keys) & {"worker", "resources", "exec_config"})
        hint = "FireWorks knows _category, _fworker, _priority and _queueadapter"
    else:
        wrong = sorted(set(keys) - set(_REMOTE_KEYS))
        hint = f"jobflow-remote knows {', '.join(_REMOTE_KEYS)}"
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot route jobs: {hint}")
