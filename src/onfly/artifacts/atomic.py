"""Writes that are there completely or not at all, also after a crash of process or machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["atomic_create", "atomic_write", "ensure_folder"]


def ensure_folder(path: Path) -> Path:
    """Create a folder and its parents, and make their entries durable."""
    missing = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)
    return path


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file, replacing what was there; it is on disk when the function returns."""
    temporary = _write_temporary(path, data)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def atomic_create(path: Path, data: bytes) -> None:
    """Write a new file durably.

    Raises
    ------
    FileExistsError
        If there is a file of that name; it is left as it is.
    """
    temporary = _write_temporary(path, data)
    try:
        # a hard link fails if the name is taken, also between two processes; a rename does not
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write_temporary(path: Path, data: bytes) -> Path:
    ensure_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _umask() -> int:
    # read without changing it where the system allows, since os.umask() is process-wide
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("Umask:")[1].split()[0], 8)
    except (OSError, IndexError, ValueError):
        return 0o022


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
