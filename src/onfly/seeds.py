"""Random streams derived from names, so that a rerun or a resumed run draws the same numbers.

Every stream is identified by a key such as ``(run_id, "chain", 3, iteration)``. The key is hashed,
never counted: streams do not depend on the order in which they are asked for, and a process that
is killed and started again finds the same stream.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

__all__ = ["derive_seed", "numpy_stream", "torch_stream"]


def derive_seed(*key: str | int) -> int:
    """Return a 63-bit seed that depends on all parts of the key.

    Parameters
    ----------
    *key
        Words and numbers.

    Returns
    -------
    int
        From the sha256 of the key.

    Examples
    --------
    >>> derive_seed("my run", "chain", 3) == derive_seed("my run", "chain", 3)
    True
    >>> derive_seed("my run", "chain", 3) == derive_seed("my run", "chain", "3")
    False
    """
    digest = hashlib.sha256("\x1f".join(f"{type(k).__name__}:{k}" for k in key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_stream(*key: str | int) -> np.random.Generator:
    """Return the numpy generator of a key.

    Parameters
    ----------
    *key
        As of `derive_seed`.

    Returns
    -------
    numpy.random.Generator
        At the beginning of its stream.

    Examples
    --------
    >>> numpy_stream("my run", 3).random() == numpy_stream("my run", 3).random()
    True
    """
    return np.random.Generator(np.random.PCG64(derive_seed(*key)))


def torch_stream(*key: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return the torch generator of a key on a device.

    Parameters
    ----------
    *key
        As of `derive_seed`.
    device
        Of the generator. Streams of a GPU are others than those of the CPU.

    Returns
    -------
    torch.Generator
        At the beginning of its stream.

    Examples
    --------
    >>> a, b = (torch.rand(2, generator=torch_stream("my run", 3)) for _ in range(2))
    >>> torch.equal(a, b)
    True
    """
    return torch.Generator(device=device).manual_seed(derive_seed(*key))
