"""A lock against two processes that run the same run."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from onfly.artifacts.atomic import ensure_folder

__all__ = ["RunLock", "RunLockedError"]


class RunLockedError(RuntimeError):
    """Another process works on the run."""


class RunLock:
    """Context manager that holds a file lock; the system frees it when the process dies.

    Raises
    ------
    RunLockedError
        On entering, if another process (or another lock object) holds it.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self.run_id = run_id
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        ensure_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise RunLockedError(
                f"run {self.run_id} is being worked on by {owner or 'another process'}: wait for "
                "it or stop it, then resume"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
