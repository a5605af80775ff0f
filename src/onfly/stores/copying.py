"""Copies of documents and weights from one pair of stores to another, such as to a database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from jobflow import JobStore
from maggma.core import Store
from maggma.utils import grouper

from onfly.stores.factory import data_store, sibling

__all__ = ["CopyCounts", "copy_collection", "copy_outputs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CopyCounts:
    """What a copy wrote.

    Parameters
    ----------
    documents, blobs
        Outputs of jobs, and their parts in the store ``data``.
    """

    documents: int
    blobs: int


def copy_outputs(source: JobStore, target: JobStore, run_id: str | None = None) -> CopyCounts:
    """Copy the outputs of jobs with their weights; what is there already is replaced.

    Weights go first, so that at any moment every document in the target can be read whole.

    Parameters
    ----------
    source, target
        Connected job stores.
    run_id
        Only the outputs of this run; None copies all.
    """
    criteria = {} if run_id is None else {"metadata.onfly.run_id": run_id}
    blobs_from, blobs_to = _data(source), _data(target)
    documents = blobs = 0
    for chunk in grouper(source.docs_store.query(criteria), 20):
        docs = [{k: v for k, v in doc.items() if k != "_id"} for doc in chunk if doc is not None]
        for blob_uuid in sorted({uuid for doc in docs for uuid in _blob_uuids(doc)}):
            blobs += _copy_blob(blob_uuid, blobs_from, blobs_to)
        # written to the documents' store: the job store would look for new blobs in them
        target.docs_store.update(docs, key=["uuid", "index"])
        documents += len(docs)
    return CopyCounts(documents, blobs)


def copy_collection(
    source: JobStore, target: JobStore, name: str, key: str, criteria: dict | None = None
) -> CopyCounts:
    """Copy a collection that lies next to the outputs, with the weights its models refer to."""
    origin, goal = sibling(source.docs_store, name, key), sibling(target.docs_store, name, key)
    origin.connect()
    goal.connect()
    blobs_from, blobs_to = _data(source), _data(target)
    documents = blobs = 0
    for chunk in grouper(origin.query(criteria or {}), 20):
        docs = [{k: v for k, v in doc.items() if k != "_id"} for doc in chunk if doc is not None]
        for blob_uuid in sorted({uuid for doc in docs for uuid in _blob_uuids(doc)}):
            blobs += _copy_blob(blob_uuid, blobs_from, blobs_to)
        goal.update(docs, key=key)
        documents += len(docs)
    return CopyCounts(documents, blobs)


def _data(store: JobStore) -> Store:
    return data_store(store)


def _copy_blob(blob_uuid: str, source: Store, target: Store) -> int:
    """Copy one blob unless the target has it; blobs are never changed after they are written."""
    criteria = {"blob_uuid": blob_uuid}
    if target.query_one(criteria, ["blob_uuid"]) is not None:
        return 0
    blob = source.query_one(criteria)
    if blob is None:
        logger.warning("blob %s is missing in %s and was not copied", blob_uuid, source.name)
        return 0
    target.update({k: v for k, v in blob.items() if k not in ("_id", "last_updated")}, "blob_uuid")
    return 1


def _blob_uuids(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("blob_uuid"), str):
            yield value["blob_uuid"]
        for item in value.values():
            yield from _blob_uuids(item)
    elif isinstance(value, list):
        for item in value:
            yield from _blob_uuids(item)
