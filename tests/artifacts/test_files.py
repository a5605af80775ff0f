from __future__ import annotations

import hashlib
import io
import pickle

import numpy as np
import pytest
import torch

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.artifacts.files import decode_tensors, encode_tensors
from onfly.schemas import ArtifactRef


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


def test_tensors_come_back_bitwise(store):
    base = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    params = {"a": base.t(), "b": base, "c": base[1:3].double(), "d": torch.tensor(3.5)}
    params["e"] = torch.nn.Parameter(base.clone())
    ref = store.save_tensors(params, "weights")
    loaded = store.load_tensors(ref)
    assert set(loaded) == set(params)
    for name, tensor in params.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())
    assert ref.path == f"weights/{ref.sha256}.safetensors"
    assert ref.nbytes == store.path(ref).stat().st_size


def test_writing_twice_gives_one_file_and_repairs_a_damaged_one(store):
    params = {"b": torch.ones(3), "a": torch.zeros(2)}
    ref = store.save_tensors(params, "w")
    assert store.save_tensors(dict(reversed(params.items())), "w") == ref
    path = store.path(ref)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\x01")
    assert store.save_tensors(params, "w") == ref
    assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_changed_file_is_refused(store):
    ref = store.save_tensors({"a": torch.ones(4)}, "w")
    data = bytearray(store.path(ref).read_bytes())
    data[-1] ^= 1
    store.path(ref).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="was changed"):
        store.load_tensors(ref)


def test_missing_file_names_the_remedy(store):
    ref = ArtifactRef(path="w/x.safetensors", sha256="0" * 64, nbytes=1)
    with pytest.raises(ArtifactError, match="ONFLY_ARTIFACT_DIR"):
        store.load_tensors(ref)


def _torch_file(protocol):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 65536 + 896])
def test_files_whose_length_looks_like_a_pickle_are_read(length):
    """The first bytes of a safetensors file are the length of its header."""
    known = {"w": torch.ones(2)}
    header, _, body = encode_tensors(known)[8:].partition(b"}}")
    data = length.to_bytes(8, "little") + (header + b"}}").ljust(length) + body.lstrip(b" ")
    assert data[0] == 0x80
    assert 2 <= data[1] <= 5
    assert torch.equal(decode_tensors(data)["w"], known["w"])


def test_arrays_whose_header_looks_like_a_pickle_are_read(store):
    """As a run meets them: arrays of an MD state, with names of some length."""
    arrays = {"positions": np.zeros((8, 3))}
    for n in range(700, 900):
        ref = store.save_arrays({**arrays, "a" * n: np.zeros(1)}, "md")
        if store.load_bytes(ref).startswith(b"\x80\x03"):
            break
    else:
        pytest.fail("no header of 896 bytes")
    assert store.load_arrays(ref)["positions"].shape == (8, 3)


@pytest.mark.parametrize("make", [lambda p: pickle.dumps({"a": 1}, p), _torch_file])
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("known", [True, False])
def test_pickles_are_refused(store, make, protocol, known):
    data = make(protocol)
    ref = store.save_bytes(data, "w", ".safetensors")
    if not known:
        ref = ref.model_copy(update={"sha256": hashlib.sha256(b"other").hexdigest()})
    with pytest.raises(ArtifactError, match="pickled"):
        store.load_tensors(ref)


def test_no_safetensors_file_is_refused(store):
    ref = store.save_bytes(b"no tensors at all", "w", ".safetensors")
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        store.load_tensors(ref)
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        store.load_arrays(ref)


@pytest.mark.parametrize("path", ["../outside.bin", "/etc/passwd", "a/../../b"])
def test_references_stay_inside(store, path):
    with pytest.raises(ArtifactError, match="leads out"):
        store.load_bytes(ArtifactRef(path=path, sha256="0" * 64, nbytes=1))


def test_arrays_keep_shape_and_type(store):
    arrays = {
        "step": np.asarray(17, dtype=np.int64),
        "positions": np.random.default_rng(0).normal(size=(4, 3)),
        "single": np.arange(3, dtype=np.float32),
        "rng": np.asarray([2**63 + 5, 1], dtype=np.uint64),
        "pbc": np.asarray([True, False, True]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
    }
    loaded = store.load_arrays(store.save_arrays(arrays, "md"))
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype, name
        assert loaded[name].shape == array.shape, name
        assert np.array_equal(loaded[name], array), name
    loaded["positions"][0] = 0.0  # writable


@pytest.mark.parametrize("value", [np.asarray(["a"]), np.asarray([object()]), 1j])
def test_only_numbers_are_stored(store, value):
    with pytest.raises(TypeError, match="only numbers"):
        store.save_arrays({"x": value}, "md")
