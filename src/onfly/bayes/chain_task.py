"""One chain of an update as a task of its own: seeded, cached on disk, the same in any process."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from onfly.bayes import adam, sghmc
from onfly.bayes.adaptive import Plateau
from onfly.bayes.chain import run_cycle
from onfly.bayes.heads import is_head
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.prior import GaussianPrior
from onfly.bayes.schedules import CyclicSchedule
from onfly.bayes.target import Target
from onfly.bayes.transform import Transform
from onfly.potentials import Params
from onfly.potentials.execution import one_thread
from onfly.seeds import torch_stream

__all__ = ["ChainResult", "ChainSettings", "ChainTask", "run_chain", "threads_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChainSettings:
    """Settings of a cycle.

    Parameters
    ----------
    n_steps, batch_size
        Steps of a cycle (the most, if `min_steps` is set), and draws per minibatch.
    batch_atoms
        Atoms of a minibatch, where labels are so large that this makes fewer draws than
        `batch_size`; at least one. None always makes `batch_size` draws.
    steps_per_new
        Steps for each new label, where that makes more than `n_steps`: labels that come together
        need as many steps as if they had come one by one.
    step_size, prior_std
        γ₀ and σ_TL; None takes the default of the target's potential (for this optimizer).
    head_std
        Prior std of the heads' weights; None takes σ_TL.
    friction, beta, eps
        α, decay of the second moment and ε of `onfly.bayes.sghmc.step`.
    burn_in, ramp
        Fractions of the cycle without noise, and of the ramp of the temperature that follows.
    warm_up
        Fraction of the cycle in which the step size rises from 0.
    stability
        See `onfly.bayes.chain.preconditioner_floors`.
    min_steps
        Shortest cycle when the length adapts itself (see `onfly.bayes.adaptive`); None always
        takes `n_steps`.
    tolerance
        Of the criterion of the adaptive length.
    optimizer
        ``"sghmc"``, or ``"adam"`` for cycles without noise (``burn_in=1``), which learn more in as
        many steps (`onfly.bayes.adam`; 1 - α and β are its β₁ and β₂).
    learn_force_std
        Learn σ_F of each atom by a head, as in the paper. False gives the members no heads and
        keeps σ_F at its base: a head takes the errors that a short chain has not got rid of yet for
        noise.

    Raises
    ------
    ValueError
        If a setting is impossible.

    Examples
    --------
    >>> ChainSettings(n_steps=400, batch_size=3).friction
    0.1
    """

    n_steps: int = 2000
    batch_size: int = 5
    step_size: float | None = None
    prior_std: float | None = None
    head_std: float | None = None
    friction: float = 0.1
    beta: float = 0.999
    eps: float = 1e-4
    burn_in: float = 0.2
    ramp: float = 0.05
    stability: float = 0.5
    min_steps: int | None = None
    tolerance: float = 0.02
    optimizer: str = "sghmc"
    learn_force_std: bool = True
    steps_per_new: int = 0
    warm_up: float = 0.0
    batch_atoms: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "batch_atoms"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        if self.steps_per_new < 0:
            raise ValueError(f"steps_per_new cannot be negative, got {self.steps_per_new!r}")
        if self.min_steps is not None and not 1 <= self.min_steps <= self.n_steps:
            raise ValueError(
                f"min_steps must be between 1 and n_steps={self.n_steps}, got {self.min_steps!r}"
            )
        for name in ("step_size", "prior_std", "head_std", "eps", "stability", "tolerance"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be finite and positive, got {value!r}")
        if not 0.0 < self.friction <= 1.0 or not 0.0 <= self.beta < 1.0:
            raise ValueError(
                f"friction={self.friction!r} must be in (0, 1] and beta={self.beta!r} in [0, 1)"
            )
        for name in ("burn_in", "ramp", "warm_up"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} must be in [0, 1]")
        if self.optimizer not in OPTIMIZERS:
            names = " or ".join(OPTIMIZERS)
            raise ValueError(f"optimizer must be {names}, got {self.optimizer!r}")
        if self.optimizer == "adam" and self.burn_in < 1.0:
            raise ValueError("adam is for cycles without noise only: set burn_in=1, or use sghmc")

    def n_draws(self, n_atoms: int) -> int:
        """Return the draws per minibatch where the largest label has `n_atoms` atoms."""
        if self.batch_atoms is None:
            return self.batch_size
        return min(self.batch_size, max(1, self.batch_atoms // n_atoms))


@dataclass(frozen=True)
class ChainTask:
    """What one chain does in one update.

    Parameters
    ----------
    settings
        Settings of the cycle.
    start
        Parameters the chain starts from, as the bytes of a safetensors file.
    seed_key, chain, generation
        Key of the random streams.
    n_new
        Number of newest labels.
    cache_dir
        Where the result is kept, so that a killed update does not repeat it; None for nowhere.
    """

    settings: ChainSettings
    start: bytes
    seed_key: tuple[str | int, ...]
    chain: int
    generation: int
    n_new: int = 1
    cache_dir: str | None = None

    def key(self, target: Target) -> str:
        """Return a hash of all that the result depends on."""
        content = [list(self.seed_key), self.chain, self.generation, self.n_new]
        text = json.dumps([content, asdict(self.settings), target.fingerprint()])
        return hashlib.sha256(text.encode() + self.start).hexdigest()


@dataclass(frozen=True)
class ChainResult:
    """The sample at the end of the cycle, as the bytes of a safetensors file, and its record."""

    chain: int
    sample: bytes
    trace: dict[str, Any]
    cpu_seconds: float
    reused: bool = False


def to_bytes(params: Params, metadata: dict[str, str] | None = None) -> bytes:
    """Write parameters as the bytes of a safetensors file."""
    return save({k: v.detach().cpu().contiguous() for k, v in params.items()}, metadata)


def from_bytes(data: bytes, like: Params) -> Params:
    """Read parameters back onto the devices of `like`, which must name the same tensors."""
    params = load(data)
    if params.keys() != like.keys():
        raise ValueError(f"parameters differ in names: {sorted(params.keys() ^ like.keys())}")
    return {name: params[name].to(device=value.device) for name, value in like.items()}


def threads_of(target: Target, n_threads: int) -> AbstractContextManager[None]:
    """Let a target work in threads inside, if it can; its results do not depend on them."""
    threads = getattr(target, "threads", None)
    return nullcontext() if threads is None else threads.started(n_threads)


def run_chain(target: Target, task: ChainTask, n_threads: int = 1) -> ChainResult:
    """Run one chain, or read its result if it was finished before.

    Parameters
    ----------
    target
        Labels and model.
    task
        What to do.
    n_threads
        Cores for this chain; the result does not depend on their number.

    Raises
    ------
    ChainDivergedError
        If the chain diverges.
    ValueError
        If no step size or prior std is given and the target has no defaults.
    """
    path = None
    if task.cache_dir is not None:
        name = f"chain-{task.generation}-{task.chain}-{task.key(target)[:16]}.safetensors"
        path = Path(task.cache_dir) / name
        if (found := _read(path, task.chain)) is not None:
            return found
    start_time = time.process_time()
    with one_thread(), threads_of(target, n_threads):
        sample, trace = _run(target, task)
    cpu = time.process_time() - start_time
    metadata = {"trace": json.dumps(trace), "cpu_seconds": repr(cpu)}
    data = to_bytes(sample, metadata)
    if path is not None:
        _write(path, data)
    return ChainResult(task.chain, data, trace, cpu)


def resolve(settings: ChainSettings, target: Target) -> tuple[float, float]:
    """Return step size and prior std, from the target's defaults where they are not set."""
    step_size, prior_std, defaults = settings.step_size, settings.prior_std, target.defaults
    if step_size is not None and prior_std is not None:
        return step_size, prior_std
    if defaults is None:
        raise ValueError("the target has no defaults: set step_size and prior_std")
    if step_size is None:
        fits = settings.optimizer == "adam"
        step_size = defaults.fit_step_size if fits else defaults.step_size
    if prior_std is None:
        prior_std = defaults.prior_std
    return step_size, prior_std


def _sghmc(
    settings: ChainSettings,
    prior: GaussianPrior,
    step_size: float,
    n_data: int,
    generator: torch.Generator,
) -> Transform:
    return sghmc.transform(
        prior,
        n_data=n_data,
        step_size=step_size,
        generator=generator,
        friction=settings.friction,
        beta=settings.beta,
        eps=settings.eps,
        stability=settings.stability,
    )


def _adam(
    settings: ChainSettings,
    prior: GaussianPrior,
    step_size: float,
    n_data: int,
    generator: torch.Generator,
) -> Transform:
    return adam.transform(friction=settings.friction, beta=settings.beta, eps=settings.eps)


# An algorithm is a module with `transform`, and a line here that gives it its settings.
OPTIMIZERS = {"sghmc": _sghmc, "adam": _adam}


def _start(target: Target, data: bytes) -> tuple[Params, Params]:
    """Return the prior mean and the parameters a chain starts from; heads have the prior mean 0."""
    reference = target.reference()
    device = next(iter(reference.values())).device
    # sorted: a file's tensors come in any order, and the order of the parts decides on their noise
    heads = {
        name: torch.zeros_like(value, device=device)
        for name, value in sorted(load(data).items())
        if is_head(name)
    }
    return reference | heads, from_bytes(data, reference | heads)


def _run(target: Target, task: ChainTask) -> tuple[Params, dict[str, Any]]:
    settings = task.settings
    step_size, prior_std = resolve(settings, target)
    reference, start = _start(target, task.start)
    prior = GaussianPrior.around(
        reference, prior_std, scale=target.prior_scale(), head_std=settings.head_std
    )
    device = next(iter(reference.values())).device
    n_steps = max(settings.n_steps, settings.steps_per_new * task.n_new)
    noise = torch_stream(*task.seed_key, "noise", task.chain, task.generation, device=device)
    sample, trace = run_cycle(
        target,
        prior,
        start,
        CyclicSchedule(n_steps, step_size, settings.burn_in, settings.ramp, settings.warm_up),
        PrioritySampler(target.n_data, _n_draws(settings, target), min(task.n_new, target.n_data)),
        OPTIMIZERS[settings.optimizer](settings, prior, step_size, target.n_data, noise),
        torch_stream(*task.seed_key, "minibatch", task.chain, task.generation),
        plateau=None
        if settings.min_steps is None
        else Plateau(settings.min_steps, settings.tolerance),
    )
    return sample, trace.as_dict()


def _n_draws(settings: ChainSettings, target: Target) -> int:
    n_atoms = getattr(target, "n_atoms", None)  # targets without atoms are of one size
    if n_atoms is None:
        return settings.batch_size
    return settings.n_draws(max(n_atoms(index) for index in range(target.n_data)))


def _read(path: Path, chain: int) -> ChainResult | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        trace, cpu = json.loads(metadata["trace"]), float(metadata["cpu_seconds"])
    except (SafetensorError, KeyError, ValueError) as error:
        logger.warning("%s is not a finished chain (%s): it is run again", path, error)
        return None
    return ChainResult(chain, path.read_bytes(), trace, cpu, reused=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
