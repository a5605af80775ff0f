"""The fit: all labels and the replay together, by Adam, with the prior around the foundation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onfly.bayes.chain_task import ChainSettings, ChainTask, from_bytes, run_chain, to_bytes
from onfly.classes.examples import Example
from onfly.classes.target import class_target
from onfly.potentials import Params, Potential
from onfly.spec.classes import ClassFitSpec

__all__ = ["ClassFit", "fit_weights"]


@dataclass(frozen=True)
class ClassFit:
    """Fitted weights.

    Parameters
    ----------
    params
        By name.
    trace
        Of the fit, see `onfly.bayes.chain.ChainTrace`.
    cpu_seconds
        Of this process.
    """

    params: Params
    trace: dict[str, Any]
    cpu_seconds: float


def fit_weights(
    potential: Potential,
    examples: Sequence[Example],
    spec: ClassFitSpec,
    *,
    seed_key: tuple[str | int, ...],
    cache_dir: Path | None = None,
    n_threads: int = 1,
) -> ClassFit:
    """Fit the whole network to labels and replay.

    It starts from the foundation, whatever versions of the class there are: weights depend on
    labels and settings only, not on the order in which labels came.

    Parameters
    ----------
    potential
        The foundation.
    examples
        Labels on its energy scale, and replay.
    spec
        Steps, step size, width of the prior.
    seed_key
        Names the random streams.
    cache_dir
        Where a finished fit is kept, so that an interrupted update does not repeat it.
    n_threads
        Cores; the result does not depend on them.

    Raises
    ------
    onfly.bayes.chain.ChainDivergedError
        If the fit diverges.
    """
    settings = ChainSettings(
        n_steps=spec.n_steps,
        batch_size=min(spec.batch_size, len(examples)),
        step_size=spec.step_size,
        prior_std=spec.prior_std,
        burn_in=1.0,
        optimizer="adam",
        beta=0.99,
        eps=1e-8,
        learn_force_std=False,
    )
    start = potential.parameters()
    task = ChainTask(
        settings,
        to_bytes(start),
        seed_key,
        chain=0,
        generation=1,
        n_new=0,
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    target: Any = class_target(potential, examples)  # a Target
    result = run_chain(target, task, n_threads)
    return ClassFit(from_bytes(result.sample, start), result.trace, result.cpu_seconds)
