"""Weights from the `data` store to the files of this machine."""

from __future__ import annotations

from maggma.core import Store

from onfly.artifacts import ArtifactStore
from onfly.artifacts.blobs import ensemble_files, ensemble_from_blobs
from onfly.artifacts.files import ArtifactError
from onfly.schemas import FineTunedModelDoc, WeightsBlob

__all__ = ["fetch_weights"]


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
    if all(artifact_store.exists(ref) for ref in ensemble_files(doc.ensemble)):
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
    ensemble_from_blobs(artifact_store, doc.ensemble, blobs, source)
