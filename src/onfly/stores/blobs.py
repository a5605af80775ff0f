"""The `data` store of the embedded store: documents in SQLite, their large part in files.

Weights of one model have 10 to 200 MB. SQLite would hold them, but litemongo decodes every
document of a collection when it builds an index: one model could not be read without reading all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maggma.core import StoreError
from monty.json import jsanitize

from onfly.artifacts.atomic import atomic_write
from onfly.stores.damage import DamagedStoreError
from onfly.stores.embedded import EmbeddedStore

__all__ = ["EmbeddedBlobStore"]

FIELD = "data"
_FILE = "data_sha256"
_REMEDY = (
    "onfly.library.repair_model(MODEL_ID) writes the weights of a model "
    "again if the artifact directory has them"
)


class EmbeddedBlobStore(EmbeddedStore):
    """Embedded store whose field ``data`` is kept in files named by their sha256."""

    @property
    def files(self) -> Path:
        """Folder of the files."""
        return self._folder / f"{self.collection_name}.files"

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """Write the files first, then the documents that name them."""
        stubs = []
        for doc in docs if isinstance(docs, list) else [docs]:
            stub = {k: v for k, v in doc.items() if k not in (FIELD, "_id")}
            if FIELD in doc:
                content = jsanitize(doc[FIELD], allow_bson=True, recursive_msonable=True)
                data = json.dumps(content).encode()
                stub[_FILE] = hashlib.sha256(data).hexdigest()
                if not self.sound(stub[_FILE]):  # a damaged file is written again
                    atomic_write(self.file_of(stub[_FILE]), gzip.compress(data, 1, mtime=0))
            stubs.append(stub)
        super().update(stubs, key)

    def query(
        self,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[dict]:
        """Yield the documents, with their data if ``properties`` is None or names them."""
        wanted = not properties or FIELD in properties
        if properties and wanted:
            properties = [*properties, _FILE]
        for doc in super().query(criteria, properties, *args, **kwargs):
            sha256 = doc.pop(_FILE, None)
            if wanted and sha256 is not None:
                doc[FIELD] = self._read(sha256)
            yield doc

    def remove_docs(self, criteria: dict) -> None:
        """Delete the documents that match, and files that no document names any more."""
        with self.exclusive():
            named = {d.get(_FILE) for d in self._collection.find(criteria, {_FILE: 1})}
            super().remove_docs(criteria)
            for sha256 in named - {None}:
                if self._collection.find_one({_FILE: sha256}) is None:
                    self.file_of(sha256).unlink(missing_ok=True)

    def named_files(self) -> list[tuple[str, str]]:
        """Return digest of the file and ``blob_uuid`` of all documents that have one."""
        found = super().query({_FILE: {"$exists": True}}, [_FILE, "blob_uuid"])
        return [(doc[_FILE], doc["blob_uuid"]) for doc in found]

    def file_of(self, sha256: str) -> Path:
        """Return the path of a file."""
        return self.files / sha256[:2] / f"{sha256}.json.gz"

    def sound(self, sha256: str) -> bool:
        """Return whether the file of a digest is there and has that digest."""
        try:
            self._read(sha256)
        except StoreError:
            return False
        return True

    def _read(self, sha256: str) -> Any:
        path = self.file_of(sha256)
        try:
            data = gzip.decompress(path.read_bytes())
        except FileNotFoundError:
            raise StoreError(f"{path}, which {self.name} names, is missing: {_REMEDY}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise DamagedStoreError(f"{path} is damaged ({error}): {_REMEDY}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedStoreError(
                f"{path} was changed (its sha256 is not the one in its name): {_REMEDY}"
            )
        return json.loads(data)
