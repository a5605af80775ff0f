"""Weights as text for the `data` store, and the size of documents before they are written.

maggma's GridFSStore writes JSON, and turns bytes into the text of their repr without an error. So
weights go there as base64 text in pieces, with the sha256 of the file they came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

import bson
from monty.json import jsanitize

from onfly.artifacts.files import ArtifactError, ArtifactStore, decode_tensors, refuse_pickle
from onfly.schemas import ArtifactRef, EnsembleDoc, WeightsBlob

__all__ = [
    "DocumentTooLargeError",
    "check_document_size",
    "decode_blob",
    "encode_blob",
    "ensemble_from_blobs",
    "ensemble_to_blobs",
]

# a multiple of 3, so that only the last piece is padded; 4 MB of text each
CHUNK_BYTES = 3 * 1024 * 1024


class DocumentTooLargeError(ValueError):
    """A document is larger than the store takes."""


def encode_blob(data: bytes) -> WeightsBlob:
    """Encode the bytes of a safetensors file.

    Raises
    ------
    ArtifactError
        If the bytes are a pickle, or not a safetensors file.
    """
    decode_tensors(data, source="weights to be published")
    pieces = range(0, len(data), CHUNK_BYTES)
    return WeightsBlob(
        sha256=hashlib.sha256(data).hexdigest(),
        nbytes=len(data),
        chunks=[base64.b64encode(data[i : i + CHUNK_BYTES]).decode("ascii") for i in pieces],
    )


def decode_blob(blob: WeightsBlob, source: str = "weights") -> bytes:
    """Decode a blob and check it.

    Raises
    ------
    ArtifactError
        If it is no base64, has another sha256 than recorded, or is a pickle.
    """
    try:
        data = b"".join(base64.b64decode(chunk, validate=True) for chunk in blob.chunks)
    except (binascii.Error, ValueError) as error:
        raise ArtifactError(f"{source}: the stored text is not base64: {error}") from error
    refuse_pickle(data, source)
    found = hashlib.sha256(data).hexdigest()
    if found != blob.sha256:
        raise ArtifactError(
            f"{source} were changed in the store: sha256 is {found} ({len(data)} bytes), recorded "
            f"was {blob.sha256} ({blob.nbytes} bytes). Publish the run again."
        )
    return data


def ensemble_to_blobs(store: ArtifactStore, *docs: EnsembleDoc) -> list[WeightsBlob]:
    """Encode all files of ensembles, in the order of `ensemble_files`."""
    return [encode_blob(store.load_bytes(ref)) for ref in ensemble_files(*docs)]


def ensemble_from_blobs(
    store: ArtifactStore,
    docs: Sequence[EnsembleDoc],
    blobs: list[WeightsBlob],
    source: str = "weights",
) -> None:
    """Write the files of ensembles that came from the `data` store, after checking each.

    Raises
    ------
    ArtifactError
        If the blobs do not belong to the ensembles or fail the checks of `decode_blob`.
    """
    refs = ensemble_files(*docs)
    if [ref.sha256 for ref in refs] != [blob.sha256 for blob in blobs]:
        raise ArtifactError(
            f"{source}: the stored weights ({len(blobs)} files) are not those of the model "
            f"({len(refs)} files). Publish the run again."
        )
    for ref, blob in zip(refs, blobs, strict=True):
        data = decode_blob(blob, source)
        decode_tensors(data, source=source)
        folder, _, name = ref.path.rpartition("/")
        written = store.save_bytes(data, folder, "." + name.partition(".")[2])
        if written.path != ref.path:
            raise ArtifactError(f"{source}: {ref.path!r} is not a name by sha256")


def ensemble_files(*docs: EnsembleDoc) -> list[ArtifactRef]:
    """Return the files of ensembles: members in order, then the other tensors; each once."""
    found = [ref for doc in docs for ref in (*doc.members, doc.extra) if ref is not None]
    return list({ref.path: ref for ref in found}.values())


def check_document_size(doc: dict[str, Any], max_mb: float, name: str = "document") -> float:
    """Return the size of a document in MB (10⁶ bytes) as the database counts it.

    Raises
    ------
    DocumentTooLargeError
        If it is larger than ``max_mb``; the message names the largest fields.
    """
    content = jsanitize(doc, strict=True, allow_bson=True)
    size = len(bson.encode(content)) / 1e6
    if size > max_mb:
        largest = sorted(_field_sizes(content).items(), key=lambda item: -item[1])[:3]
        fields = ", ".join(f"{key} ({nbytes / 1e6:.1f} MB)" for key, nbytes in largest)
        raise DocumentTooLargeError(
            f"{name} has {size:.1f} MB, allowed are {max_mb:g} MB (MAX_DOC_MB). Largest fields: "
            f"{fields}. Move them to the additional store `data` or to files."
        )
    return size


def _field_sizes(content: dict[str, Any], prefix: str = "") -> dict[str, int]:
    sizes: dict[str, int] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        nested = _field_sizes(value, f"{name}.") if isinstance(value, dict) and value else {}
        sizes |= nested or {name: len(bson.encode({"": value}))}
    return sizes
