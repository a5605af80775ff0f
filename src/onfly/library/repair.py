"""A check of the library's models and their weights, and what can be made again from what.

The weights of a model lie in two places: as files of the artifact directory and in the store
`data`. Either is made again from the other. A model whose document is lost is published again from
the folder of its run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maggma.core import StoreError

from onfly.artifacts import ArtifactError, list_runs
from onfly.artifacts.blobs import (
    decode_blob,
    ensemble_files,
    ensemble_from_blobs,
    ensemble_to_blobs,
)
from onfly.artifacts.damage import Problem
from onfly.labels.errors import LabelError
from onfly.labels.store import LabelStore
from onfly.labels.stored import label_key, stored_fields
from onfly.library.documents import model_from_record
from onfly.library.loading import read_document
from onfly.library.models import ModelLibrary
from onfly.schemas import FineTunedModelDoc, LabelDoc, WeightsBlob

__all__ = ["add_models", "repair_model", "restore_labels", "verify_models"]

logger = logging.getLogger(__name__)


def verify_models(library: ModelLibrary | None = None) -> list[Problem]:
    """Return what is damaged or missing among the library's models; an empty list if nothing.

    Every document is validated, every file of weights in the artifact directory and every blob of
    the data store is read and compared with its sha256, and so is the file of a foundation model.

    Parameters
    ----------
    library
        None opens that of this machine's settings.

    Returns
    -------
    list of Problem
        Each with a `message` and a `remedy`.

    Examples
    --------
    >>> verify_models()
    []
    """
    library = library or ModelLibrary.from_settings(refresh=False)
    problems: list[Problem] = []
    for record in library.models_store.query({}):
        name = f"model {record.get('model_id')}"
        try:
            doc = model_from_record(record)
        except (KeyError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            remedy = (
                "delete the document: it is made again from the output of its job, or by "
                "`onfly.library.add_models()` from the folder of its run"
            )
            problems.append(Problem(name, f"its document is damaged ({first})", remedy))
            continue
        problems += _weights(library, doc, record.get("weights_reference"), name)
        problems += _foundation(doc, name)
    return problems


def repair_model(model_id: str, library: ModelLibrary | None = None) -> list[str]:
    """Make missing or damaged weights of a model again; return what was written.

    Parameters
    ----------
    model_id
        Of the model.
    library
        None opens that of this machine's settings.

    Returns
    -------
    list of str
        What was written; empty if nothing was damaged.

    Raises
    ------
    ModelNotFoundError
        If there is no such model.
    ArtifactError
        If the weights are sound nowhere.

    Examples
    --------
    >>> repair_model("CuAu-f716e6da3f4e")
    []
    """
    library = library or ModelLibrary.from_settings()
    record = library.records(model_id=model_id, limit=1)
    doc = library.get(model_id)
    blobs = _sound_blobs(library, doc, record[0].get("weights_reference"))
    damaged = [ref for ref in ensemble_files(*doc.ensembles) if not _sound_file(library, ref)]
    if not damaged and blobs is not None:
        return []
    if blobs is not None:
        ensemble_from_blobs(library.artifact_store, doc.ensembles, blobs, f"model {model_id}")
        return [str(library.artifact_store.path(ref)) for ref in damaged]
    if damaged:
        names = ", ".join(ref.path for ref in damaged)
        raise ArtifactError(
            f"weights of model {model_id} are neither whole in {library.artifact_store.root} "
            f"({names}) nor in {library.data_store.name}: take one of both from a backup, or run "
            "the fine-tuning again (its labels are reused)"
        )
    weights = ensemble_to_blobs(library.artifact_store, *doc.ensembles)
    library.publish(doc.model_copy(update={"weights": weights}))
    return [f"weights of model {model_id} in {library.data_store.name}"]


def add_models(library: ModelLibrary | None = None) -> list[str]:
    """Publish models that runs of the artifact directory made and the library does not have.

    Parameters
    ----------
    library
        None opens that of this machine's settings.

    Returns
    -------
    list of str
        Their ids. A folder whose model or weights are damaged is logged and left out.

    Examples
    --------
    >>> add_models()
    []
    """
    library = library or ModelLibrary.from_settings()
    known = {record["model_id"] for record in library.records(properties=["model_id"])}
    added = []
    for workspace in list_runs(library.artifact_store.root):
        path = workspace.folder / "model.json"
        if not path.is_file():
            continue
        try:
            doc = read_document(FineTunedModelDoc, path)
            if doc.model_id in known:
                continue
            weights = ensemble_to_blobs(library.artifact_store, *doc.ensembles)
        except ArtifactError as error:
            logger.error("%s", error)
            continue
        library.publish(doc.model_copy(update={"weights": weights}))
        added.append(doc.model_id)
    return added


def restore_labels(library: ModelLibrary | None = None) -> list[str]:
    """Write labels that the library has, and the store of labels has lost, again.

    A label is the same one if its key is: the hash of its structure, numbers and settings.

    Parameters
    ----------
    library
        None opens that of this machine's settings.

    Returns
    -------
    list of str
        Their keys.

    Raises
    ------
    ValueError
        If the library has no collection of labels.

    Examples
    --------
    >>> len(restore_labels())
    3
    """
    library = library or ModelLibrary.from_settings(refresh=False)
    if library.labels_store is None:
        raise ValueError("this library was opened without a collection of labels")
    store = LabelStore(library.artifact_store.root / "labels")
    restored = []
    for record in library.labels_store.query({}):
        fields = {k: v for k, v in record.items() if k in LabelDoc.model_fields}
        try:
            label = LabelDoc.model_validate(fields)
            key = label_key(stored_fields(label))
        except (LabelError, KeyError, TypeError, ValueError) as error:
            logger.error("label %s of the library is damaged: %s", record.get("label_id"), error)
            continue
        if key not in store:
            restored.append(store.put(label))
    return restored


def _weights(
    library: ModelLibrary, doc: FineTunedModelDoc, reference: dict[str, str] | None, name: str
) -> Iterator[Problem]:
    refs = ensemble_files(*doc.ensembles)
    missing = [ref for ref in refs if not library.artifact_store.exists(ref)]
    damaged = [ref for ref in refs if ref not in missing and not _sound_file(library, ref)]
    stored = _sound_blobs(library, doc, reference) is not None
    remedy = f"`onfly.library.repair_model({doc.model_id!r})` writes them again"
    if not stored and (missing or damaged):
        yield Problem(
            name,
            f"its weights are whole neither in {library.artifact_store.root} nor in "
            f"{library.data_store.name}",
            "take one of both from a backup, or run the fine-tuning again (its labels are reused)",
        )
    elif not stored:
        message = f"its weights in {library.data_store.name} are missing or damaged"
        yield Problem(name, message, f"{remedy} from the artifact directory", "warning")
    elif damaged:  # missing files are fetched when they are needed
        paths = ", ".join(str(library.artifact_store.path(ref)) for ref in damaged)
        message = f"files of its weights are damaged ({paths})"
        yield Problem(name, message, f"{remedy} from {library.data_store.name}")


def _foundation(doc: FineTunedModelDoc, name: str) -> Iterator[Problem]:
    path = Path(doc.foundation_model).expanduser()
    if not path.is_absolute():
        return
    if not path.exists():
        message = f"its foundation model {path} is missing"
        remedy = "bring the file back, or pass foundation_model=PATH where it is used"
        yield Problem(name, message, remedy, "warning")
    elif path.is_file() and doc.foundation_sha256 not in (None, _digest(path)):
        message = f"its foundation model {path} is another file than the one it was made from"
        yield Problem(name, message, f"bring back that of sha256 {doc.foundation_sha256}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sound_file(library: ModelLibrary, ref: Any) -> bool:
    try:
        library.artifact_store.load_bytes(ref)
    except (ArtifactError, OSError):
        return False
    return True


def _sound_blobs(
    library: ModelLibrary, doc: FineTunedModelDoc, reference: dict[str, str] | None
) -> list[WeightsBlob] | None:
    """Return the blobs of a model if they are there, decode, and are those of its ensemble."""
    if reference is None:
        return None
    try:
        found = library.data_store.query_one({"blob_uuid": reference["blob_uuid"]})
        blobs = [WeightsBlob.model_validate(item) for item in found["data"]]
        for blob in blobs:
            decode_blob(blob)
    except (ArtifactError, StoreError, KeyError, TypeError, ValueError):
        return None
    if [blob.sha256 for blob in blobs] != [ref.sha256 for ref in ensemble_files(*doc.ensembles)]:
        return None
    return blobs
