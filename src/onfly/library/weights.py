"""Weights between the `data` store and the files of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from maggma.core import Store

from onfly.artifacts import ArtifactStore
from onfly.artifacts.blobs import ensemble_files, ensemble_from_blobs
from onfly.artifacts.files import ArtifactError
from onfly.schemas import FineTunedModelDoc, WeightsBlob
from onfly.stores.factory import DATA_STORE

__all__ = ["fetch_weights", "store_blobs", "store_weights", "weights_place"]


def weights_place(doc: FineTunedModelDoc) -> dict[str, str]:
    """Return where `store_weights` puts the weights of a model: blob_uuid and name of the store."""
    return {"blob_uuid": f"onfly-{doc.model_id}", "store": DATA_STORE}


def store_weights(doc: FineTunedModelDoc, data_store: Store) -> None:
    """Write the weights that a document carries to the data store, in jobflow's form."""
    store_blobs(data_store, weights_place(doc)["blob_uuid"], doc.run_id, doc.weights or [])


def store_blobs(
    data_store: Store, blob_uuid: str, job_uuid: str, blobs: Sequence[WeightsBlob]
) -> None:
    """Write weights to the data store as jobflow does those of a job's output."""
    data_store.update(
        {
            "blob_uuid": blob_uuid,
            "job_uuid": job_uuid,
            "job_index": 1,
            "data": [blob.model_dump() for blob in blobs],
        },
        key="blob_uuid",
    )


def fetch_weights(
    doc: FineTunedModelDoc,
    reference: dict[str, str] | None,
    data_store: Store,
    artifact_store: ArtifactStore,
) -> None:
    """Make sure that the weights of a model are on this machine.

    Files that are there are not fetched; whoever reads them checks their sha256.

    Parameters
    ----------
    doc
        The model.
    reference
        ``blob_uuid`` of its weights in the data store, or None.
    data_store, artifact_store
        From and to where.

    Raises
    ------
    ArtifactError
        If the weights are nowhere, were changed, or are a pickle.
    """
    if all(artifact_store.exists(ref) for ref in ensemble_files(*doc.ensembles)):
        return
    source = f"weights of model {doc.model_id}"
    blob = None
    if reference is not None:
        blob = data_store.query_one({"blob_uuid": reference["blob_uuid"]}, ["blob_uuid", "data"])
    if blob is None:
        raise ArtifactError(
            f"{source} are neither in {artifact_store.root} nor in {data_store.name}: check "
            "ONFLY_ARTIFACT_DIR, or publish the run again"
        )
    blobs = [WeightsBlob.model_validate(item) for item in blob["data"]]
    ensemble_from_blobs(artifact_store, doc.ensembles, blobs, source)
