"""One step of stochastic-gradient Hamiltonian Monte Carlo with the AMSGrad preconditioner.

With N labels, g = ∇[-(1/N) log prior - mean log-likelihood], m̂ = 1/(sqrt(v̂) + ε), friction α and
temperature T (paper, section on the sampler)::

    p ← (1 - α) p - α g + α ξ,   ξ ~ N(0, T · 2 / (γ m̂ N))
    θ ← θ + γ m̂ p

For a harmonic log posterior of variance s² the stationary variance is s²/(1 - h/(2 (2 - α))) with
h = η/s² and η = α γ m̂/N.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onfly.bayes.flat import FlatParams
from onfly.bayes.precondition import root_denominator, update_second_moment
from onfly.bayes.prior import GaussianPrior
from onfly.bayes.transform import Transform
from onfly.potentials import Params

__all__ = ["SGHMCState", "init", "preconditioner_floors", "step", "transform"]


@dataclass(frozen=True)
class SGHMCState:
    """State of one chain.

    Parameters
    ----------
    params
        θ.
    momentum
        p.
    second_moment, max_second_moment
        Running mean of g² and the maximum v̂ of its bias-corrected value.
    step
        Steps so far.
    """

    params: FlatParams
    momentum: FlatParams
    second_moment: FlatParams
    max_second_moment: FlatParams
    step: int = 0


def init(params: Params) -> SGHMCState:
    """Return the state of a chain that starts, at rest, at clones of the parameters.

    Raises
    ------
    ValueError
        If there are no parameters, or they differ in type or device.
    """
    start = FlatParams.of(params)
    momentum, second, largest = (
        start.with_vector(torch.zeros_like(start.vector)) for _ in range(3)
    )
    return SGHMCState(start, momentum, second, largest)


def step(
    state: SGHMCState,
    grads: Mapping[str, Tensor | None],
    *,
    n_data: int,
    step_size: float,
    temperature: float,
    generator: torch.Generator,
    friction: float = 0.1,
    beta: float = 0.999,
    eps: float = 1e-4,
    floors: Tensor | None = None,
    inplace: bool = False,
) -> SGHMCState:
    """Return the state after one step.

    Parameters
    ----------
    state
        Where the chain is.
    grads
        g, the gradient of -(1/N) log prior - mean log-likelihood. None, or a gradient that was
        exactly zero in all steps so far, leaves the parameter where it is: without any gradient the
        preconditioner is unknown, and 1/ε in its place would be a wild random walk. Given as
        `FlatParams`, it is not copied.
    n_data
        Number of labels N.
    step_size
        γ of this step.
    temperature
        T of this step, 0 for no noise; the noise is proportional to sqrt(T).
    generator
        Source of the noise, on the device of the parameters.
    friction, beta, eps
        α, decay of the second moment, ε.
    floors
        Smallest values of 1/m̂, shape (P,), see `onfly.bayes.precondition`.
    inplace
        Reuse the buffers of `state`, which must not be used afterwards. The numbers are the same.
    """
    if not inplace:
        state = SGHMCState(
            state.params.with_vector(state.params.vector.clone()),
            state.momentum.with_vector(state.momentum.vector.clone()),
            state.second_moment.with_vector(state.second_moment.vector.clone()),
            state.max_second_moment.with_vector(state.max_second_moment.vector.clone()),
            state.step,
        )
    theta, p, v_max = state.params.vector, state.momentum.vector, state.max_second_moment.vector
    g = grads.vector if isinstance(grads, FlatParams) else state.params.gather(grads)
    update_second_moment(state.second_moment.vector, v_max, g, beta=beta, step=state.step + 1)
    denominator = root_denominator(v_max, eps=eps, floors=floors)
    p.mul_(1.0 - friction).add_(g, alpha=-friction)
    if temperature > 0.0:
        xi = torch.randn(theta.shape, generator=generator, dtype=theta.dtype, device=theta.device)
        xi.mul_(denominator.sqrt()).mul_(v_max.sign())
        p.add_(xi, alpha=friction * math.sqrt(2.0 * temperature / (step_size * n_data)))
    theta.addcdiv_(p, denominator, value=step_size)
    return replace(state, step=state.step + 1)


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


def transform(
    prior: GaussianPrior,
    *,
    n_data: int,
    step_size: float,
    generator: torch.Generator,
    friction: float = 0.1,
    beta: float = 0.999,
    eps: float = 1e-4,
    stability: float = 0.5,
    inplace: bool = True,
) -> Transform:
    """Return the sampler with its settings; see `step` and `preconditioner_floors`.

    Parameters
    ----------
    step_size
        The largest of the cycle, for the floors.
    generator
        Source of the noise, on the device of the parameters.
    """
    smallest = preconditioner_floors(
        prior, n_data=n_data, step_size=step_size, friction=friction, stability=stability
    )
    floors: list[Tensor] = []

    def take(
        state: SGHMCState, grads: FlatParams, step_size: float, temperature: float
    ) -> SGHMCState:
        if not floors:
            floors.append(state.params.spread(smallest))
        return step(
            state,
            grads,
            n_data=n_data,
            step_size=step_size,
            temperature=temperature,
            generator=generator,
            friction=friction,
            beta=beta,
            eps=eps,
            floors=floors[0],
            inplace=inplace,
        )

    return Transform(init, take)
