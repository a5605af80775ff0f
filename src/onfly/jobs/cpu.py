"""CPU time of a block of work."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]


@contextmanager
def timed(cpu_seconds: dict[str, float], kind: str, *, children: bool = False) -> Iterator[None]:
    """Add the CPU time that a block takes to an account.

    With ``children`` also that of processes which the block started and waited for.
    """

    def now() -> float:
        if not children:
            return time.process_time()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + usage.ru_utime + usage.ru_stime

    start = now()
    try:
        yield
    finally:
        cpu_seconds[kind] = cpu_seconds.get(kind, 0.0) + now() - start
