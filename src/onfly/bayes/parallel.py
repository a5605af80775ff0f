"""Chains in worker processes: started once, one torch thread each, gone when the parent is gone.

Where there are more workers than chains, a chain has threads for the labels of a minibatch.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType

import torch

from onfly.bayes.chain_task import ChainResult, ChainTask, run_chain
from onfly.bayes.target import Target
from onfly.potentials.execution import keep_freed_memory

__all__ = ["ChainPool", "TargetFactory", "run_chains"]

TargetFactory = Callable[[], Target]


class ChainPool:
    """Worker processes that are kept over several updates.

    Use it as a context manager. Workers are spawned, so scripts need the usual
    ``if __name__ == "__main__":``; each keeps its potential loaded, and ends by itself when the
    parent process is killed.

    Parameters
    ----------
    n_workers
        Number of processes.
    """

    def __init__(self, n_workers: int) -> None:
        if n_workers < 1:
            raise ValueError(f"a pool needs at least one worker, got {n_workers}")
        self.n_workers = n_workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> ChainPool:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; those that are in a chain finish it first."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def run(
        self,
        factory: TargetFactory,
        tasks: Sequence[ChainTask],
    ) -> list[ChainResult]:
        """Run the chains and return their results in the order of the tasks.

        Parameters
        ----------
        factory
            Makes the target; must be picklable, such as a partial of a module-level function.
        tasks
            The chains.

        Raises
        ------
        RuntimeError
            If a worker died, for instance for lack of memory.
        """
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.n_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
            )
        payload = pickle.dumps(factory)
        n_threads = max(1, self.n_workers // max(1, len(tasks)))
        futures = [
            self._executor.submit(_run_in_worker, payload, task, n_threads) for task in tasks
        ]
        try:
            for future in as_completed(futures):
                future.result()
        except BrokenProcessPool as error:
            self.close()
            raise RuntimeError(
                "a worker process died while it ran a chain; if memory ran out, use fewer workers. "
                "Chains that were finished are kept if the update has a cache_dir"
            ) from error
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]


def run_chains(
    factory: TargetFactory,
    tasks: Sequence[ChainTask],
    *,
    n_workers: int = 1,
    pool: ChainPool | None = None,
) -> list[ChainResult]:
    """Run the chains of an update, in this process or in others, with the same numbers.

    Parameters
    ----------
    factory
        Makes the target.
    tasks
        The chains.
    n_workers
        1 runs them in this process, one after another; more starts as many workers for this call.
        A single chain stays in this process and has as many threads.
    pool
        Workers to use instead.
    """
    if pool is not None:
        return pool.run(factory, tasks)
    if n_workers > 1 and len(tasks) > 1:
        with ChainPool(min(n_workers, len(tasks))) as own:
            return own.run(factory, tasks)
    target = factory()
    return [run_chain(target, task, n_workers) for task in tasks]


def _start_worker() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@functools.lru_cache(maxsize=1)
def _target(payload: bytes) -> Target:
    # the bytes come through the pool's own pipe from the parent process, never from a file
    return pickle.loads(payload)()


def _run_in_worker(payload: bytes, task: ChainTask, n_threads: int) -> ChainResult:
    return run_chain(_target(payload), task, n_threads)
