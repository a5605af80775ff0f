from __future__ import annotations

import base64
import hashlib
import json
import pickle

import pytest
import torch

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.artifacts.blobs import (
    CHUNK_BYTES,
    DocumentTooLargeError,
    check_document_size,
    decode_blob,
    encode_blob,
    ensemble_from_blobs,
    ensemble_to_blobs,
)
from onfly.artifacts.files import decode_tensors, encode_tensors
from onfly.schemas import EnsembleDoc, WeightsBlob


@pytest.fixture
def tensors():
    size = CHUNK_BYTES // 4 + 1000
    return {"w": torch.randn(size, generator=torch.Generator().manual_seed(0)), "b": torch.ones(3)}


def _tampered(blob, **changes):
    return blob.model_copy(update=changes)


def test_weights_come_back_bitwise_through_json(tensors):
    data = encode_tensors(tensors)
    blob = encode_blob(data)
    assert len(blob.chunks) == 2
    again = WeightsBlob.model_validate(json.loads(json.dumps(blob.model_dump())))
    assert decode_blob(again) == data
    loaded = decode_tensors(decode_blob(again))
    assert all(torch.equal(loaded[k], v) for k, v in tensors.items())


def test_tampered_blobs_are_refused(tensors):
    blob = encode_blob(encode_tensors(tensors))
    swapped = blob.chunks[0][:-8] + "AAAAAAA="
    for bad in ([swapped, blob.chunks[1]], blob.chunks[:1], blob.chunks[::-1]):
        with pytest.raises(ArtifactError, match=r"were changed in the store|not base64"):
            decode_blob(_tampered(blob, chunks=bad))
    with pytest.raises(ArtifactError, match="not base64"):
        decode_blob(_tampered(blob, chunks=["b'\\x00\\x01'"]))


def test_pickles_are_refused_on_both_ways():
    data = pickle.dumps({"w": 1})
    with pytest.raises(ArtifactError, match="pickled"):
        encode_blob(data)
    blob = WeightsBlob(
        sha256=hashlib.sha256(data).hexdigest(),
        nbytes=len(data),
        chunks=[base64.b64encode(data).decode()],
    )
    with pytest.raises(ArtifactError, match="pickled"):
        decode_blob(blob)


def _ensemble(store):
    refs = [store.save_tensors({"w": torch.full((4,), float(i))}, "runs/r/ensembles") for i in "12"]
    extra = store.save_tensors({"s": torch.eye(2)}, "runs/r/ensembles")
    return EnsembleDoc(generation=1, posterior="sghmc", members=refs, extra=extra)


def test_an_ensemble_travels_to_another_machine(tmp_path):
    here, there = ArtifactStore(tmp_path / "here"), ArtifactStore(tmp_path / "there")
    doc = _ensemble(here)
    blobs = ensemble_to_blobs(here, doc)
    ensemble_from_blobs(there, [doc], blobs)
    for ref in [*doc.members, doc.extra]:
        assert there.load_bytes(ref) == here.load_bytes(ref)
    with pytest.raises(ArtifactError, match="not those of the model"):
        ensemble_from_blobs(there, [doc], blobs[::-1])
    with pytest.raises(ArtifactError, match="not those of the model"):
        ensemble_from_blobs(there, [doc], blobs[:2])


def test_a_document_may_not_write_outside(tmp_path):
    here, there = ArtifactStore(tmp_path / "here"), ArtifactStore(tmp_path / "there")
    doc = _ensemble(here)
    blobs = ensemble_to_blobs(here, doc)
    evil = doc.members[0].model_copy(update={"path": "../../evil.safetensors"})
    doc = doc.model_copy(update={"members": [evil, doc.members[1]]})
    with pytest.raises(ArtifactError, match="leads out"):
        ensemble_from_blobs(there, [doc], blobs)
    assert not list(tmp_path.rglob("evil*"))


def test_document_size_names_the_largest_fields():
    doc = {"small": 1, "settings": {"table": ["x" * 100] * 10_000}, "text": "y" * 500_000}
    assert check_document_size(doc, 2.0) == pytest.approx(1.6, abs=0.2)
    with pytest.raises(DocumentTooLargeError, match=r"settings\.table \(1\.\d MB\), text \(0\.5"):
        check_document_size(doc, 1.0, "run r1")
