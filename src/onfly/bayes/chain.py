"""One cycle of one chain: from the last sample to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from onfly.bayes import adam, sghmc
from onfly.bayes.adaptive import Plateau
from onfly.bayes.heads import base_force_std, is_head
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.prior import GaussianPrior, NegativeLogPosterior
from onfly.bayes.schedules import CyclicSchedule
from onfly.bayes.target import Target
from onfly.potentials import Params

__all__ = ["ChainDivergedError", "ChainTrace", "run_cycle"]

TRACE_POINTS = 40


class ChainDivergedError(RuntimeError):
    """A chain reached parameters or likelihoods that are not finite."""


@dataclass
class ChainTrace:
    """Thinned record of a cycle, lists of equal length that go into JSON as they are.

    Parameters
    ----------
    step
        Number of the step.
    log_likelihood
        Estimate of the mean log-likelihood per label by the minibatch of this step.
    log_prior
        Log density of the prior.
    step_size, temperature
        Of the schedule.
    """

    step: list[int] = field(default_factory=list)
    log_likelihood: list[float] = field(default_factory=list)
    log_prior: list[float] = field(default_factory=list)
    step_size: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the lists by name."""
        return asdict(self)


def preconditioner_floors(
    prior: GaussianPrior, *, n_data: int, step_size: float, friction: float, stability: float
) -> dict[str, float]:
    """Return floors of 1/m̂ that keep directions which only the prior holds stable.

    A harmonic direction of variance s² is stable for η/s² < 2 (2 - α) with η = α γ m̂/N. The floors
    keep η/σ_TL² below `stability` (0.5: the stationary variance is 15 % too large at the largest
    step size of a cycle, and exact at its end); with the paper's settings they are hardly ever
    reached, but with a narrow prior an unbounded m̂ = 1/ε lets such parameters explode.
    """
    return {
        name: friction * step_size / (stability * n_data * std**2)
        for name, std in prior.std.items()
    }


def run_cycle(
    target: Target,
    prior: GaussianPrior,
    params: Params,
    schedule: CyclicSchedule,
    sampler: PrioritySampler,
    generator: torch.Generator,
    *,
    sampler_generator: torch.Generator | None = None,
    friction: float = 0.1,
    beta: float = 0.999,
    eps: float = 1e-4,
    stability: float = 0.5,
    optimizer: str = "sghmc",
    learn_force_std: bool = True,
    inplace: bool = True,
    plateau: Plateau | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Params, ChainTrace]:
    """Run one cycle of SGHMC.

    Momentum and preconditioner start afresh, as in the paper.

    Parameters
    ----------
    target, prior
        Likelihood and prior.
    params
        Where the chain starts; not changed.
    schedule
        Step size and temperature of each step.
    sampler
        Minibatches; its `n_data` is the N of the sampler's equations.
    generator
        Source of the noise, on the device of the parameters.
    sampler_generator
        Source of the minibatches, on the CPU; None takes `generator`.
    friction, beta, eps
        See `onfly.bayes.sghmc.step`.
    stability
        See `preconditioner_floors`.
    optimizer
        ``"sghmc"``, or ``"adam"`` for a cycle without noise.
    learn_force_std
        Learn the heads; if False, σ_F is at its base and stays there.
    inplace
        Reuse buffers of the sampler; the numbers are the same.
    plateau
        Shortens the cycle once the fit no longer improves; None runs all steps of the schedule.
    on_progress
        Called as ``on_progress(step, n_steps)`` at the points of the trace.

    Returns
    -------
    params
        The sample at the end of the cycle.
    trace
        What happened on the way.

    Raises
    ------
    ChainDivergedError
        If the log-likelihood or a parameter is not finite.
    """
    n = sampler.n_data
    if n != target.n_data:
        raise ValueError(f"the sampler draws from {n} labels, the target has {target.n_data}")
    smallest = preconditioner_floors(
        prior, n_data=n, step_size=schedule.step_size, friction=friction, stability=stability
    )
    if not learn_force_std:
        params = base_force_std(params)
    state, trace = sghmc.init(params), ChainTrace()
    not_heads = state.params.spread({name: not is_head(name) for name in params})
    floors = state.params.spread(smallest)
    posterior = NegativeLogPosterior.of(prior, state.params, n)
    every = max(1, schedule.n_steps // TRACE_POINTS)
    newest = torch.tensor([n - 1]), torch.ones(1)
    i = 0
    while i < schedule.n_steps:
        step_size, temperature = schedule.at(i)
        indices, weights = sampler.draw(sampler_generator or generator)
        value, likelihood_grads = target.value_and_grad(state.params, indices, weights)
        if i % every == 0 or i == schedule.n_steps - 1:
            _record(trace, i, value, prior.log_prob(state.params), step_size, temperature)
            if on_progress is not None:
                on_progress(i, schedule.n_steps)
        grads = posterior.gradient(state.params, likelihood_grads)
        if not learn_force_std:
            grads.vector.mul_(not_heads)
        if optimizer == "adam":
            state = adam.step(
                state, grads, step_size=step_size, friction=friction, beta=beta, eps=eps
            )
        else:
            state = sghmc.step(
                state,
                grads,
                n_data=n,
                step_size=step_size,
                temperature=temperature,
                generator=generator,
                friction=friction,
                beta=beta,
                eps=eps,
                floors=floors,
                inplace=inplace,
            )
        i += 1
        if plateau is not None:
            plateau.add(value)
            if plateau.is_due(i, schedule):
                latest, _ = target.value_and_grad(state.params, *newest)
                if plateau.reached(latest):
                    schedule, plateau = plateau.shorten(i, schedule), None
    if not bool(state.params.vector.isfinite().all()):
        raise ChainDivergedError(
            f"parameters are not finite after {state.step} steps: use a smaller step size than "
            f"{schedule.step_size:g}, and check the labels for outliers"
        )
    # copies: a view would drag the whole vector along into files and other processes
    return {name: value.clone() for name, value in state.params.items()}, trace


def _record(
    trace: ChainTrace,
    i: int,
    value: torch.Tensor,
    log_prior: torch.Tensor,
    step_size: float,
    temperature: float,
) -> None:
    if not torch.isfinite(value):
        raise ChainDivergedError(
            f"the log-likelihood is not finite at step {i}: use a smaller step size than "
            f"{step_size:g}, and check the labels for outliers"
        )
    trace.step.append(i)
    trace.log_likelihood.append(float(value))
    trace.log_prior.append(float(log_prior))
    trace.step_size.append(step_size)
    trace.temperature.append(temperature)
