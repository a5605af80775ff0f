"""How tensors are computed on a CPU: by how many threads, and in which memory.

Nothing here happens by itself: both change the whole process, so the machine's settings decide.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["keep_freed_memory", "one_thread", "usable_cores"]

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@contextmanager
def one_thread(threads: int = 1, *, keep_memory: bool = False) -> Iterator[None]:
    """Let torch use a given number of threads inside, one by default.

    Several threads lose on busy machines and on small systems, and the last bits of a result
    depend on their number. A single chain of a large system gains by more of them.

    Parameters
    ----------
    threads
        Number of threads; 0 takes all cores that this process may use.
    keep_memory
        Also call `keep_freed_memory`, which holds for the whole process and is not undone.

    Raises
    ------
    ValueError
        If the number is negative.
    """
    if threads < 0:
        raise ValueError(f"the number of threads cannot be {threads}: give 1 or more, or 0 for all")
    if keep_memory:
        keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Return how many cores this process may run on, of those that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
