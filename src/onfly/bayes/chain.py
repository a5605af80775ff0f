"""One cycle of one chain: from the last sample to the next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from onfly.bayes.adaptive import Plateau
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.prior import GaussianPrior, NegativeLogPosterior
from onfly.bayes.schedules import CyclicSchedule
from onfly.bayes.target import Target
from onfly.bayes.transform import Transform
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


def run_cycle(
    target: Target,
    prior: GaussianPrior,
    params: Params,
    schedule: CyclicSchedule,
    sampler: PrioritySampler,
    transform: Transform,
    generator: torch.Generator,
    *,
    plateau: Plateau | None = None,
) -> tuple[Params, ChainTrace]:
    """Run one cycle of an algorithm, whose state starts afresh, as in the paper.

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
    transform
        The algorithm, such as `onfly.bayes.sghmc.transform`.
    generator
        Source of the minibatches, on the CPU.
    plateau
        Shortens the cycle once the fit no longer improves; None runs all steps of the schedule.

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
    state, trace = transform.init(params), ChainTrace()
    posterior = NegativeLogPosterior.of(prior, state.params, n)
    every = max(1, schedule.n_steps // TRACE_POINTS)
    newest = torch.tensor([n - 1]), torch.ones(1)
    i = 0
    while i < schedule.n_steps:
        step_size, temperature = schedule.at(i)
        indices, weights = sampler.draw(generator)
        value, likelihood_grads = target.value_and_grad(state.params, indices, weights)
        if i % every == 0 or i == schedule.n_steps - 1:
            _record(trace, i, value, prior.log_prob(state.params), step_size, temperature)
        grads = posterior.gradient(state.params, likelihood_grads)
        state = transform.step(state, grads, step_size, temperature)
        i += 1
        if plateau is not None:
            plateau.add(value)
            if plateau.is_due(i, schedule):
                latest, _ = target.value_and_grad(state.params, *newest)
                if plateau.reached(latest):
                    schedule, plateau = plateau.shorten(i, schedule), None
    if not bool(state.params.vector.isfinite().all()):
        raise ChainDivergedError(
            f"parameters are not finite after {i} steps: use a smaller step size than "
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
