"""How tensors are computed on a CPU: by one thread, and in which memory."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["keep_freed_memory", "one_thread"]

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside.

    Several threads lose on busy machines and on small systems, and the last bits of a result
    depend on their number. Large systems have threads for labels instead: see
    `onfly.learning.threads`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep what this process frees, and use it for the next tensors.

    It holds for all of the process, also for code that is not ours, and until the process ends:
    call it at the start of a program or worker, where the machine's settings ask for it.

    glibc maps large blocks anew each time and returns them at once, so that the kernel clears every
    page of every large tensor: a third of the CPU of a training step of MACE medium on 100 atoms.
    The most memory that is in use at one time stays the same; it is held until the process ends.

    Returns
    -------
    bool
        Whether it was set. Other C libraries are left alone, and so are processes whose user has
        set glibc's own variables (``MALLOC_…``, ``GLIBC_TUNABLES``).
    """
    if platform.libc_ver()[0] != "glibc" or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_MAX, 0)) and bool(library.mallopt(M_TRIM_THRESHOLD, -1))
