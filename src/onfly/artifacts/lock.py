"""A lock against two processes that work on the same run or trajectory."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from onfly.artifacts.atomic import ensure_folder, full_disk_named

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

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._owner = path.with_name(f"{path.name}.owner")
        self._lock = FileLock(path, timeout=0, is_singleton=False)

    def __enter__(self) -> RunLock:
        ensure_folder(self._owner.parent)
        try:
            with full_disk_named(self._owner):
                self._lock.acquire()
        except Timeout:
            owner = self._owner.read_text().strip() if self._owner.is_file() else ""
            raise RunLockedError(
                f"{self.name} is being worked on by {owner or 'another process'}: wait for it or "
                "stop it, then resume"
            ) from None
        # only a word for others, without which the lock holds as well
        with contextlib.suppress(OSError):
            self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
