"""A disk that is full from its n-th write on, until it is emptied."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["Disk"]


class Disk:
    """Counts what needs space below a folder, and refuses it from a number on.

    Writing, syncing, renaming, linking and making files or folders need space; deleting does not.
    A write that is refused has written the first half of its data.

    Parameters
    ----------
    root
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.count = 0
        self.full_at: int | None = None
        self.refused: list[str] = []

    def needs(self, what: str, path: Any) -> None:
        """Count an operation, or refuse it."""
        self.count += 1
        if self.full_at is not None and self.count >= self.full_at:
            self.refused.append(f"{what} {path}")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def holds(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(self.root)

    def install(self, patch: Any) -> None:
        """Stand between Python and the system."""
        real_open, real_fdopen, real_mkstemp = io.open, os.fdopen, tempfile.mkstemp
        real_fsync = os.fsync

        def opened(file, mode="r", *args, **kwargs):
            if not self.holds(file) or mode in ("r", "rb"):
                return real_open(file, mode, *args, **kwargs)
            if "+" not in mode:
                self.needs("open", file)
            return _File(real_open(file, mode, *args, **kwargs), self, file)

        def fdopened(descriptor, *args, **kwargs):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            file = real_fdopen(descriptor, *args, **kwargs)
            return _File(file, self, path) if self.holds(path) else file

        def mkstemp(*args, **kwargs):
            if self.holds(kwargs.get("dir")):
                self.needs("create", kwargs["dir"])
            return real_mkstemp(*args, **kwargs)

        def fsync(descriptor):
            path = os.readlink(f"/proc/self/fd/{int(descriptor)}")
            if self.holds(path):
                self.needs("sync", path)
            return real_fsync(descriptor)

        def named(name, position):
            real = getattr(os, name)

            def function(*args, **kwargs):
                if self.holds(args[position]):
                    self.needs(name, args[position])
                return real(*args, **kwargs)

            return function

        patch.setattr(io, "open", opened)
        patch.setattr(os, "fdopen", fdopened)
        patch.setattr(tempfile, "mkstemp", mkstemp)
        patch.setattr(os, "fsync", fsync)
        for name, position in (("replace", 1), ("rename", 1), ("link", 1), ("mkdir", 0)):
            patch.setattr(os, name, named(name, position))


class _File:
    """A file whose writes are counted."""

    def __init__(self, file: Any, disk: Disk, path: Any) -> None:
        self._file, self._disk, self._path = file, disk, path

    def write(self, data: Any) -> int:
        try:
            self._disk.needs("write", self._path)
        except OSError:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *args: Any) -> Any:
        return self._file.__exit__(*args)
