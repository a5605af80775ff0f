"""Files named by their sha256: weights, MD states and whatever is too large for a document.

Tensors and arrays are safetensors files: reading one runs no code, and every read checks the
sha256 that the document recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from onfly.artifacts.atomic import atomic_write
from onfly.schemas import ArtifactRef

__all__ = ["ArtifactError", "ArtifactStore", "decode_tensors", "encode_tensors"]

# first bytes of pickle protocols 2 to 5, and of torch's zip files, which hold a pickle
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


class ArtifactError(ValueError):
    """A file of the artifact directory is missing, was changed or is of a refused kind.

    Examples
    --------
    >>> decode_tensors(b"no tensors")
    Traceback (most recent call last):
        ...
    onfly.artifacts.files.ArtifactError: data is not a safetensors file: ...
    """


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise tensors as a safetensors file; equal tensors give equal bytes.

    Parameters
    ----------
    tensors
        Name to tensor.

    Returns
    -------
    bytes
        Content of the file.

    Examples
    --------
    >>> encode_tensors({"w": torch.ones(2)}) == encode_tensors({"w": torch.ones(2)})
    True
    """
    # clones, since safetensors refuses tensors that share storage
    return safetensors.torch.save(
        {
            k: t.detach().to("cpu").clone(memory_format=torch.contiguous_format)
            for k, t in tensors.items()
        }
    )


def decode_tensors(
    data: bytes, device: str | torch.device = "cpu", source: str = "data"
) -> dict[str, Tensor]:
    """Read tensors from the bytes of a safetensors file.

    Parameters
    ----------
    data
        Content of the file.
    device
        Where the tensors go.
    source
        What to call it in messages.

    Returns
    -------
    dict
        Name to tensor.

    Raises
    ------
    ArtifactError
        If the bytes are a pickle, or not a safetensors file.

    Examples
    --------
    >>> decode_tensors(encode_tensors({"w": torch.ones(2)}))["w"]
    tensor([1., 1.])
    """
    refuse_pickle(data, source)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise ArtifactError(f"{source} is not a safetensors file: {error}") from error
    # clones, since tensors that are views of a file are unaligned, and products of them round
    # differently from those of tensors that were computed
    return {k: t.clone().to(device) for k, t in tensors.items()}


def refuse_pickle(data: bytes, source: str) -> None:
    """Raise ArtifactError if the data are a pickle: loading one would run code from it."""
    if data.startswith(_PICKLE_STARTS) and not _starts_as_safetensors(data):
        raise ArtifactError(
            f"{source} is a pickled file (torch.save or pickle): loading it could run foreign "
            "code, so it is refused. Publish the weights again as safetensors."
        )


def _starts_as_safetensors(data: bytes) -> bool:
    """Whether the data begin with a length and a JSON header of that length.

    A file whose header has 896 bytes begins with the two bytes of a pickle of protocol 3, and so do
    those of 640, 1152 and 1408 bytes with protocols 2, 4 and 5.
    """
    length = int.from_bytes(data[:8], "little")
    return data[8:9] == b"{" and 8 + length <= len(data)


class ArtifactStore:
    """Content-addressed files under one directory.

    Every write is atomic and durable, and writing the same content twice gives the same file.

    Parameters
    ----------
    root
        The artifact directory; references are relative to it.

    Raises
    ------
    ArtifactError
        By what reads: a file is missing, was changed, or is of a refused kind.

    Examples
    --------
    >>> store = ArtifactStore("artifacts")
    >>> ref = store.save_arrays({"positions": np.zeros((4, 3))}, "md")
    >>> store.load_arrays(ref)["positions"].shape
    (4, 3)
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def path(self, ref: ArtifactRef) -> Path:
        """Return the absolute path of a reference.

        Raises
        ------
        ArtifactError
            If the reference leads out of the artifact directory.
        """
        relative = PurePosixPath(ref.path)
        if relative.is_absolute() or ".." in relative.parts:
            raise ArtifactError(f"reference {ref.path!r} leads out of the artifact directory")
        return self.root / relative

    def exists(self, ref: ArtifactRef) -> bool:
        """Return whether the file is there with the right size; its content is not checked."""
        path = self.path(ref)
        return path.is_file() and path.stat().st_size == ref.nbytes

    def save_bytes(self, data: bytes, folder: str, suffix: str = ".bin") -> ArtifactRef:
        """Write bytes to ``folder/<sha256><suffix>`` and return the reference."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = (PurePosixPath(folder) / f"{sha256}{suffix}").as_posix()
        ref = ArtifactRef(path=name, sha256=sha256, nbytes=len(data))
        path = self.path(ref)
        # a file that is there but damaged is written again
        if not (self.exists(ref) and hashlib.sha256(path.read_bytes()).hexdigest() == sha256):
            atomic_write(path, data)
        return ref

    def load_bytes(self, ref: ArtifactRef) -> bytes:
        """Read a file and check it.

        Raises
        ------
        ArtifactError
            If the file is missing or its sha256 is not that of the reference.
        """
        path = self.path(ref)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(
                f"artifact {ref.path} is not in {self.root}: check ONFLY_ARTIFACT_DIR, or load "
                "the model from the `data` store"
            ) from None
        found = hashlib.sha256(data).hexdigest()
        if found != ref.sha256:
            refuse_pickle(data, str(path))
            raise ArtifactError(
                f"artifact {path} was changed: its sha256 is {found}, recorded was {ref.sha256}. "
                "onfly.library.repair_model(MODEL_ID) writes weights of a published model again "
                "from the `data` store; other files come from a backup."
            )
        return data

    def save_tensors(self, params: Mapping[str, Tensor], folder: str) -> ArtifactRef:
        """Write tensors, from any device, to a safetensors file."""
        return self.save_bytes(encode_tensors(params), folder, ".safetensors")

    def load_tensors(
        self, ref: ArtifactRef, device: str | torch.device = "cpu"
    ) -> dict[str, Tensor]:
        """Read tensors onto a device, after the check of `load_bytes`."""
        return decode_tensors(self.load_bytes(ref), device, str(self.path(ref)))

    def save_arrays(self, arrays: Mapping[str, np.ndarray], folder: str) -> ArtifactRef:
        """Write integer, bool and float arrays, scalars as 0-d arrays, to a safetensors file.

        Raises
        ------
        TypeError
            If an array is of another kind, such as strings or objects.
        """
        checked = {}
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"array {name!r} has dtype {array.dtype}: only numbers are stored")
            # ascontiguousarray makes 0-d arrays 1-d, copy keeps them
            checked[name] = array.copy(order="C")
        return self.save_bytes(safetensors.numpy.save(checked), folder, ".safetensors")

    def load_arrays(self, ref: ArtifactRef) -> dict[str, np.ndarray]:
        """Read arrays, after the check of `load_bytes`."""
        data = self.load_bytes(ref)
        source = str(self.path(ref))
        refuse_pickle(data, source)
        try:
            return {k: v.copy() for k, v in safetensors.numpy.load(data).items()}
        except SafetensorError as error:
            raise ArtifactError(f"{source} is not a safetensors file: {error}") from error
