"""Writes that are there completely or not at all, also after a crash of process or machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "DiskFullError",
    "atomic_create",
    "atomic_write",
    "ensure_folder",
    "full_disk_named",
    "is_full_disk",
    "require_space",
]

_FULL = (errno.ENOSPC, errno.EDQUOT)
# a label, or a checkpoint of thousands of atoms
_LEAST_SPACE = 16_000_000


class DiskFullError(OSError):
    """There is no space left for a file."""


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk into one that says which, and what to do.

    Raises
    ------
    DiskFullError
        If there is no space left, or the quota is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        what = "the quota is used up" if error.errno == errno.EDQUOT else "the disk is full"
        raise DiskFullError(
            error.errno,
            f"{what}: free some space on it, then go on with `onfly resume`; all that was written "
            "before is whole",
            str(path),
        ) from error


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def require_space(folder: Path, nbytes: int = _LEAST_SPACE) -> None:
    """Raise before something is paid for that could not be written.

    Parameters
    ----------
    folder
        Where it will be written; it need not be there.
    nbytes
        What must be free.

    Raises
    ------
    DiskFullError
        If less is free. Quotas are not seen.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        with full_disk_named(folder):
            raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free")


def ensure_folder(path: Path) -> Path:
    """Create a folder and its parents, and make their entries durable."""
    missing = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    with full_disk_named(path):
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
    return path


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file, replacing what was there; it is on disk when the function returns.

    Raises
    ------
    DiskFullError
        If there is no space left; what was there stays.
    """
    with full_disk_named(path):
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
    DiskFullError
        If there is no space left.
    """
    with full_disk_named(path):
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
