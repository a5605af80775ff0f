"""A store in a folder of this machine, for one user without a database server.

Documents are kept by litemongo, which evaluates MongoDB's query language over SQLite files. What
it lacks for our use is added here: one connection per thread and process, writes that several
processes may make at once, and commits that survive a power cut. It is no job queue: FireWorks
and jobflow-remote need a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litemongo
from maggma.core import StoreError
from maggma.stores import MongoStore
from maggma.stores.mongolike import MemoryStore

from onfly.artifacts.atomic import ensure_folder
from onfly.stores.damage import damage_named

__all__ = ["EmbeddedStore"]

_BUSY_TIMEOUT_MS = 60_000


class EmbeddedStore(MongoStore):
    """maggma store of one collection in SQLite files.

    Parameters
    ----------
    path
        Folder of the store; it is created when the store is first connected.
    collection_name
        Name of the collection.
    database
        Name of the sub-folder that holds the collections.
    **kwargs
        Further arguments of `maggma.core.Store`, such as ``key``.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str,
        database: str = "onfly",
        **kwargs: Any,
    ) -> None:
        self.path = str(Path(path).expanduser().absolute())
        self.collection_name = collection_name
        self.database = database
        self.default_sort = None
        self.safe_update = False
        self.ssh_tunnel = None
        self.kwargs = kwargs
        self._connected = False
        self._epoch = 0
        self._local = threading.local()
        super(MongoStore, self).__init__(**kwargs)

    @property
    def name(self) -> str:
        """Return a name that tells the store from others."""
        return f"embedded://{self.path}/{self.database}/{self.collection_name}"

    def connect(self, force_reset: bool = False) -> None:
        """Open the store; each thread gets a connection of its own when it first uses it."""
        if force_reset:
            self.close()
        if not self._connected:
            ensure_folder(self._folder)
            self._connected = True

    def close(self) -> None:
        """Close this thread's connection; those of other threads are replaced at their next use."""
        client = getattr(self._local, "client", None)
        if client is not None and self._local.owner == (os.getpid(), self._epoch):
            client.close()
        self._local = threading.local()
        self._epoch += 1
        self._connected = False

    @property
    def file(self) -> Path:
        """The SQLite file of the collection."""
        return self._folder / self.collection_name

    @property
    def _folder(self) -> Path:
        return Path(self.path) / self.database

    @property
    def _collection(self) -> Any:
        if not self._connected:
            raise StoreError(f"{self.name} is not connected: call connect() first")
        # SQLite connections must not be shared between threads, nor carried through a fork
        owner = (os.getpid(), self._epoch)
        if getattr(self._local, "owner", None) != owner:
            # creating the file is no transaction
            with self.exclusive(), damage_named(self.file):
                self._local.client = litemongo.MongoClient(self.path, self.database)
                self._local.collection = self._local.client[self.database][self.collection_name]
                self._configure(self._local.collection)
            self._local.owner = owner
        return self._local.collection

    @staticmethod
    def _configure(collection: Any) -> None:
        connection: sqlite3.Connection = collection._store._connection
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        # litemongo's NORMAL may lose the last commits in a power cut
        connection.execute("PRAGMA synchronous=FULL")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads and processes from writing to the collection meanwhile.

        An update is a search and a write; without this, two processes that insert the same key
        would both find nothing and both insert.
        """
        if getattr(self._local, "depth", 0):
            yield
            return
        path = self._folder / f".{self.collection_name}.lock"
        # a hidden file that ends on -journal, which litemongo does not take for a collection
        descriptor = os.open(f"{path}-journal", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._local.depth = 1
            yield
        finally:
            self._local.depth = 0
            os.close(descriptor)

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """Insert documents or replace those with the same key; see `maggma.core.Store.update`."""
        with self.exclusive(), damage_named(self.file):
            super().update(docs, key)

    def remove_docs(self, criteria: dict) -> None:
        """Delete the documents that match."""
        with self.exclusive(), damage_named(self.file):
            super().remove_docs(criteria)

    def ensure_index(self, key: str, unique: bool | None = False) -> bool:
        """Create the index of a field unless it is there."""
        with self.exclusive(), damage_named(self.file):
            return super().ensure_index(key, unique)

    def create_index(self, keys: list[tuple[str, int]], **options: Any) -> None:
        """Create an index of several fields unless it is there."""
        with self.exclusive(), damage_named(self.file):
            self._collection.create_index(keys, **options)

    def count(self, criteria: dict | None = None, hint: dict | None = None) -> int:
        """Count the documents that match; hints mean nothing here."""
        with damage_named(self.file):
            return self._collection.count_documents(criteria or {})

    def query(self, *args: Any, hint: dict | None = None, **kwargs: Any) -> Iterator[dict]:
        """Yield the documents that match (`maggma.core.Store.query`); hints mean nothing here."""
        with damage_named(self.file):
            yield from super().query(*args, **kwargs)

    # grouping in Python, since the aggregation of litemongo lacks operators that MongoStore uses
    groupby = MemoryStore.groupby

    def __hash__(self) -> int:
        return hash((self.name, self.last_updated_field))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmbeddedStore) and (self.name, self.key) == (other.name, other.key)
