"""A check of everything in the stores of this machine."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
from bson.errors import InvalidBSON
from jobflow import JobStore
from maggma.core import StoreError
from pymongo.errors import PyMongoError

from onfly.artifacts.damage import Problem
from onfly.stores.blobs import EmbeddedBlobStore
from onfly.stores.damage import remedy
from onfly.stores.embedded import EmbeddedStore
from onfly.stores.factory import DATA_STORE, additional_stores

__all__ = ["verify_store"]

# of SQLite's write-ahead log, and our locks
_SIDECARS = ("-wal", "-shm", "-journal", ".tmp")
_REPAIR = (
    "`onfly.library.repair_model(MODEL_ID)` writes them again if the artifact directory has the "
    "files of the ensemble"
)


def verify_store(store: JobStore) -> list[Problem]:
    """Return what is damaged or missing in a job store and next to it; an empty list if nothing.

    Of the embedded store every SQLite file is checked by SQLite, every document is decoded, and
    every file of weights is read and compared with its sha256. Of a server it is checked that it
    answers. Of both, that the weights that outputs refer to are there.

    Parameters
    ----------
    store
        The job store; it is connected if it is not.

    Returns
    -------
    list of Problem
        Each with a `message` and a `remedy`.

    Examples
    --------
    >>> from onfly.stores import job_store
    >>> verify_store(job_store())
    []
    """
    docs, data = store.docs_store, additional_stores(store).get(DATA_STORE)
    problems: list[Problem] = []
    folders = {(Path(s.path) / s.database) for s in (docs, data) if isinstance(s, EmbeddedStore)}
    for folder in sorted(folders):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.is_file() and not path.name.endswith(_SIDECARS):
                problems += _database(path)
    if problems:
        return problems  # what follows reads these files
    try:
        store.connect()
        if isinstance(data, EmbeddedBlobStore):
            problems += _files(data)
        if data is not None:
            problems += _references(docs, data)
    except (PyMongoError, StoreError, OSError) as error:
        problems.append(
            Problem(docs.name, f"does not answer ({error})", "check address, account and server")
        )
    return problems


def _database(path: Path) -> list[Problem]:
    try:
        # read-only, so that a check changes nothing
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
            found = [row[0] for row in base.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"]:
                return [_damaged(path, found[0])]
            broken = sum(
                _undecodable(blob) for (blob,) in base.execute("SELECT doc FROM documents")
            )
    except sqlite3.DatabaseError as error:
        return [_damaged(path, error)]
    return [_damaged(path, f"{broken} documents cannot be decoded")] if broken else []


def _damaged(path: Path, what: object) -> Problem:
    words = " ".join(str(what).split())  # SQLite's own have several lines
    return Problem(str(path), f"is damaged ({words})", remedy(path))


def _undecodable(blob: Any) -> bool:
    try:
        bson.decode(blob)
    except (InvalidBSON, TypeError, ValueError):
        return True
    return False


def _files(data: EmbeddedBlobStore) -> Iterator[Problem]:
    for sha256, blob_uuid in data.named_files():
        if not data.sound(sha256):
            yield Problem(
                f"weights {blob_uuid}",
                f"{data.file_of(sha256)} is missing or damaged",
                _REPAIR,
            )


def _references(docs: Any, data: Any) -> Iterator[Problem]:
    there = {doc["blob_uuid"] for doc in data.query({}, ["blob_uuid"])}
    criteria = {"output.doc_type": "model"}
    for doc in docs.query(criteria, ["output.model_id", "output.weights"]):
        weights = doc["output"].get("weights")
        if isinstance(weights, dict) and weights.get("blob_uuid") not in there:
            yield Problem(
                f"model {doc['output'].get('model_id')}",
                f"its weights are not in {data.name}",
                _REPAIR,
            )
