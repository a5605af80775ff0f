"""Files of the runs: content-addressed weights and states, and the folder of each run."""

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
