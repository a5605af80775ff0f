"""A real server process that speaks MongoDB's wire protocol, for tests on a bare machine.

The server is the binary of the `secantusdb` package (GPL-2.0-only): started as a process, never
imported. Any MongoDB takes its place when ``ONFLY_TEST_MONGO_URI`` names one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from onfly.testing.findandmodify_proxy import FindAndModifyProxy

__all__ = ["MongoAddress", "WireServer", "mongo_address", "server_binary"]

URI_VARIABLE = "ONFLY_TEST_MONGO_URI"
_BINARY = "secantusd-rs"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class MongoAddress:
    """Where a server is, and one database on it.

    Parameters
    ----------
    uri
        Connection string without a database.
    database
        Name of the database of one test.
    """

    uri: str
    database: str

    def client(self, **kwargs: Any) -> MongoClient:
        """Return a client."""
        return MongoClient(self.uri, **kwargs)

    @property
    def host_port(self) -> tuple[str, int]:
        """Host and port of the first server."""
        with self.client() as client:
            node = next(iter(client.topology_description.server_descriptions()))
        return str(node[0]), int(node[1] or 27017)

    def job_store_spec(self) -> dict[str, Any]:
        """Return a JOB_STORE with MongoStore and GridFSStore."""
        place = {"uri": self.uri, "database": self.database}
        return {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **place},
            "additional_stores": {
                "data": {"type": "GridFSStore", "collection_name": "blobs", **place}
            },
        }


def server_binary() -> str:
    """Return the path of the server.

    Raises
    ------
    FileNotFoundError
        If it is not installed.
    """
    beside = Path(sys.executable).parent / _BINARY
    found = str(beside) if beside.exists() else shutil.which(_BINARY)
    if found is None:
        raise FileNotFoundError(
            f"{_BINARY} is not installed: `pip install --no-deps secantusdb==0.6.0b17`, or name a "
            f"MongoDB server by {URI_VARIABLE}"
        )
    return found


class WireServer:
    """One server process behind the proxy; it can be killed and started again on its data.

    Parameters
    ----------
    folder
        Where its data and log lie.
    cache_size
        Memory for its data. What does not fit is read from the disk, document by document.
    """

    def __init__(self, folder: Path, cache_size: str = "256M") -> None:
        self.folder = folder
        self.cache_size = cache_size
        self.process: subprocess.Popen | None = None
        self.server_port = 0
        self.proxy: FindAndModifyProxy | None = None

    @property
    def uri(self) -> str:
        """Connection string of the proxy; the same after a restart."""
        assert self.proxy is not None, "start() first"
        return f"mongodb://127.0.0.1:{self.proxy.port}/?directConnection=true"

    def start(self) -> WireServer:
        """Start the server and wait until it answers.

        Raises
        ------
        RuntimeError
            If it does not.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "server.log"
        with log.open("ab") as output:
            output.write(b"--- start\n")
            output.flush()
            self.process = subprocess.Popen(
                [
                    server_binary(),
                    *("--host", "127.0.0.1", "--port", str(self.server_port)),
                    *("--storage-path", str(self.folder / "data"), "--standalone"),
                    # without these, writes it acknowledged are lost when it is killed
                    *("--log-file-max", "64MB", "--sync-on-commit"),
                    *("--cache-size", self.cache_size),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self.server_port = self._wait_for_port(log)
        if self.proxy is None:
            self.proxy = FindAndModifyProxy(self.server_port).start()
        self._wait_for_answer()
        return self

    def kill(self) -> None:
        """End the server with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the server and the proxy."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.proxy is not None:
            self.proxy.close()
            self.proxy = None

    def _wait_for_port(self, log: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            text = log.read_text(errors="replace").rpartition("--- start\n")[2]
            if found := re.search(r"listening on \S*:(\d+)", text):
                return int(found[1])
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the test server did not start: {log.read_text(errors='replace')}")

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                client: MongoClient
                with MongoClient(self.uri, serverSelectionTimeoutMS=1000) as client:
                    client.admin.command("ping")
                return
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the test server does not answer: {error}") from error


@contextmanager
def mongo_address(folder: Path, cache_size: str = "256M") -> Iterator[str]:
    """Yield the URI of the server named by the environment, or of one started for the while."""
    if uri := os.environ.get(URI_VARIABLE):
        yield uri
        return
    server = WireServer(folder, cache_size).start()
    try:
        yield server.uri
    finally:
        server.stop()


def new_database_name() -> str:
    """Return a name for the database of one test."""
    return f"onfly_test_{uuid4().hex[:12]}"
