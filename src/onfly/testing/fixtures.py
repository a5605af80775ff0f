"""pytest fixtures, for this project's tests and for those of projects that build on it.

Load them with ``pytest_plugins = ["onfly.testing.fixtures"]`` in the top ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onfly.testing.mongo import MongoAddress, mongo_address, new_database_name

__all__ = ["mongo_server", "mongo_uri"]


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a server that speaks MongoDB's wire protocol, one for all tests."""
    with mongo_address(tmp_path_factory.mktemp("mongo")) as uri:
        yield uri


@pytest.fixture
def mongo_server(mongo_uri: str) -> Iterator[MongoAddress]:
    """The server with a database of the test's own, which is dropped afterwards."""
    address = MongoAddress(mongo_uri, new_database_name())
    yield address
    with address.client() as client:
        client.drop_database(address.database)
