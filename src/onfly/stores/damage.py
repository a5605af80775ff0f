"""Damaged stores: the error that names one, and what it can be made again from."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bson.errors import InvalidBSON
from maggma.core import StoreError

__all__ = ["DamagedStoreError", "damage_named", "remedy"]

_DERIVED = {
    "onfly_models": "models come from the outputs of the jobs",
    "onfly_labels": "labels come from the outputs of the jobs and the folders of the runs",
    "onfly_runs": "runs come from the outputs of the jobs and the folders of the runs",
}


class DamagedStoreError(StoreError, ValueError):
    """A file of the embedded store cannot be read as what it should be."""


def remedy(path: Path) -> str:
    """Return what to do with a damaged collection of the embedded store."""
    name = path.name
    if name in _DERIVED:
        return (
            f"move it away, and it is made again when the library is next opened ({_DERIVED[name]})"
        )
    return (
        "take it from a backup, or move it away: then call "
        "onfly.library.add_models(), which takes models and weights from the folders of the runs "
        "in the artifact directory"
    )


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into one that says which file, and what to do.

    Raises
    ------
    DamagedStoreError
        If the file is no database, is malformed, or holds something else than documents.
    StoreError
        If the database cannot be used for another reason: locked, full disk, no permission.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            raise DamagedStoreError(f"{path} is damaged ({error}): {remedy(path)}") from error
        raise StoreError(
            f"{path} cannot be used ({error}): check that the disk is not full, that the folder "
            "can be written to, and that no other program holds the file"
        ) from error
    except (sqlite3.DatabaseError, InvalidBSON) as error:
        raise DamagedStoreError(f"{path} is damaged ({error}): {remedy(path)}") from error
