"""Stores of documents and weights: embedded in a folder, or by jobflow's configuration."""

from onfly.stores.blobs import EmbeddedBlobStore
from onfly.stores.damage import DamagedStoreError
from onfly.stores.embedded import EmbeddedStore
from onfly.stores.factory import embedded_job_store, job_store, sibling

__all__ = [
    "DamagedStoreError",
    "EmbeddedBlobStore",
    "EmbeddedStore",
    "embedded_job_store",
    "job_store",
    "sibling",
]
