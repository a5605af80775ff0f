"""Labels side by side in threads, with the same numbers for any number of them.

A label is evaluated by one thread from beginning to end, and what comes of all labels is added in
their order: nothing depends on how many threads there are, or on which of them is faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from onfly.potentials import Potential

__all__ = ["LabelThreads"]

T = TypeVar("T")


class LabelThreads:
    """Threads that each have the potential for themselves.

    Parameters
    ----------
    potential
        The foundation potential; threads after the first one take copies of it, because
        potentials built of torch modules exchange the modules' weights while they work.
    """

    def __init__(self, potential: Potential) -> None:
        self._potentials = [potential]
        self._executor: ThreadPoolExecutor | None = None

    @contextmanager
    def started(self, n_threads: int) -> Iterator[None]:
        """Have some threads inside; one works as without any."""
        if n_threads < 2:
            yield
            return
        while len(self._potentials) < n_threads:
            self._potentials.append(copy.deepcopy(self._potentials[0]))
        free: SimpleQueue[Potential] = SimpleQueue()
        for potential in self._potentials[:n_threads]:
            free.put(potential)
        # the number of torch's own threads is each thread's own
        with ThreadPoolExecutor(n_threads, "label", torch.set_num_threads, (1,)) as executor:
            self._free, self._executor = free, executor
            try:
                yield
            finally:
                self._executor = None

    def map(self, work: Callable[[Potential, Any], T], items: Sequence[Any]) -> list[T]:
        """Return ``work(potential, item)`` of all items, in their order."""
        if self._executor is None or len(items) < 2:
            return [work(self._potentials[0], item) for item in items]
        return list(self._executor.map(lambda item: self._with_potential(work, item), items))

    def _with_potential(self, work: Callable[[Potential, Any], T], item: Any) -> T:
        potential = self._free.get()
        try:
            return work(potential, item)
        finally:
            self._free.put(potential)
