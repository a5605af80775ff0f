"""Files of the runs: content-addressed weights and states, and the folder of each run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onfly.artifacts.files import ArtifactError, ArtifactStore
    from onfly.artifacts.lock import RunLock, RunLockedError
    from onfly.artifacts.workspace import RunWorkspace, list_runs, load_ensemble

__all__ = [
    "ArtifactError",
    "ArtifactStore",
    "RunLock",
    "RunLockedError",
    "RunWorkspace",
    "list_runs",
    "load_ensemble",
]

# imported when they are asked for: who looks into folders need not import torch
_MODULES = {
    "ArtifactError": "files",
    "ArtifactStore": "files",
    "RunLock": "lock",
    "RunLockedError": "lock",
    "RunWorkspace": "workspace",
    "list_runs": "workspace",
    "load_ensemble": "workspace",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
