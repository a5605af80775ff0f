"""Stores of documents and weights: embedded in a folder, or by jobflow's configuration."""

from onfly.stores.blobs import EmbeddedBlobStore
from onfly.stores.embedded import EmbeddedStore
from onfly.stores.factory import collection, embedded_job_store, job_store, sibling

__all__ = [
    "EmbeddedBlobStore",
    "EmbeddedStore",
    "collection",
    "embedded_job_store",
    "job_store",
    "sibling",
]
