"""The stores of this machine, by its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from jobflow import JobStore
from maggma.core import Store
from maggma.stores import MongoStore

from onfly.settings import OnflySettings, get_settings
from onfly.stores.blobs import EmbeddedBlobStore
from onfly.stores.embedded import EmbeddedStore

__all__ = ["DATA_STORE", "embedded_job_store", "job_store", "sibling"]

DATA_STORE = "data"


def job_store(settings: OnflySettings | None = None) -> JobStore:
    """Return the job store: ours if configured, else jobflow's if configured, else the embedded.

    Parameters
    ----------
    settings
        Of the machine; None reads them.

    Returns
    -------
    JobStore
        For `jobflow.run_locally` and the library; it is not connected yet.

    Raises
    ------
    ValueError
        If the configured store cannot be built, or has no additional store named ``data``.

    Examples
    --------
    >>> store = job_store()
    >>> store.connect()
    >>> store.count() > 0
    True
    """
    settings = settings or get_settings()
    store: JobStore
    if settings.JOB_STORE is not None:
        store, source = _from_spec(settings.JOB_STORE), "JOB_STORE of the onfly settings"
    elif (configured := _jobflow_store()) is not None:
        store, source = configured
    else:
        return embedded_job_store(settings.STORE_DIR, settings)
    if DATA_STORE not in additional_stores(store):
        raise ValueError(
            f"{source} has no additional store named `{DATA_STORE}`, where weights go: add one "
            "under additional_stores, such as a GridFSStore"
        )
    return store


def embedded_job_store(path: str | Path, settings: OnflySettings | None = None) -> JobStore:
    """Return the embedded job store in a folder.

    Parameters
    ----------
    path
        The folder; it is made with the first document.
    settings
        Of the machine; None reads them.

    Returns
    -------
    JobStore
        With an additional store ``data``.

    Examples
    --------
    >>> sorted(embedded_job_store("store").additional_stores)
    ['data']
    """
    settings = settings or get_settings()
    return JobStore(
        EmbeddedStore(path, settings.OUTPUTS_COLLECTION),
        additional_stores={DATA_STORE: EmbeddedBlobStore(path, settings.BLOBS_COLLECTION)},
    )


def sibling(docs_store: Store, name: str, key: str) -> Store:
    """Return a store like another one, of the same database, with another collection.

    Parameters
    ----------
    docs_store
        The store.
    name
        Of the other collection.
    key
        Field that names its documents.

    Returns
    -------
    Store
        It is not connected yet.

    Raises
    ------
    ValueError
        If the kind of store has no collections.

    Examples
    --------
    >>> models = sibling(job_store().docs_store, "onfly_models", "model_id")
    >>> models.connect()
    >>> models.count()
    1
    """
    spec = docs_store.as_dict()
    if not isinstance(docs_store, MongoStore) or "collection_name" not in spec:
        raise ValueError(
            f"no collection {name} can be kept next to {type(docs_store).__name__}: the docs_store "
            "must be a MongoStore or the embedded store"
        )
    spec.update(collection_name=name, key=key)
    return cast("Store", type(docs_store).from_dict(spec))


def _from_spec(spec: dict) -> JobStore:
    if spec.get("@class") == "JobStore":
        return cast("JobStore", JobStore.from_dict(spec))
    try:
        return JobStore.from_dict_spec(spec)
    except Exception as error:  # whatever the stores raise at their arguments
        raise ValueError(
            f"JOB_STORE cannot be built ({type(error).__name__}: {error}). It needs docs_store and "
            "additional_stores, each with `type` (a maggma store, EmbeddedStore or "
            "EmbeddedBlobStore) and that store's arguments."
        ) from error


def _jobflow_store() -> tuple[JobStore, str] | None:
    """Return the store of the user's jobflow configuration, and where it is, or None."""
    from jobflow.settings import JobflowSettings

    path = Path(os.environ.get("JOBFLOW_CONFIG_FILE", "~/.jobflow.yaml")).expanduser()
    try:
        configured = JobflowSettings(CONFIG_FILE=str(path))  # type: ignore[call-arg]
    except Exception as error:  # of its YAML, of pydantic, of maggma's stores
        text = str(error).splitlines()[0] if str(error) else ""
        raise ValueError(
            f"jobflow's settings {path} cannot be used: {type(error).__name__}: {text}"
        ) from error
    if "JOB_STORE" not in configured.model_fields_set:
        return None  # jobflow's default keeps everything in memory
    return configured.JOB_STORE, f"JOB_STORE of jobflow ({path})"


def additional_stores(store: JobStore) -> dict[str, Store]:
    """Return the stores of large data by name; jobflow leaves their type open."""
    untyped: Any = store
    return untyped.additional_stores


def data_store(store: JobStore) -> Store:
    """Return the store of weights."""
    return additional_stores(store)[DATA_STORE]
