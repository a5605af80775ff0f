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
from dataclasses import dataclass

import torch
from torch import Tensor

from onfly.bayes.precondition import root_denominator, update_second_moment
from onfly.potentials import Params

__all__ = ["SGHMCState", "init", "step"]


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

    params: Params
    momentum: Params
    second_moment: Params
    max_second_moment: Params
    step: int = 0


def init(params: Params) -> SGHMCState:
    """Return the state of a chain that starts, at rest, at clones of the parameters."""
    if not params:
        raise ValueError("there are no parameters to sample")

    def zeros() -> Params:
        return {name: torch.zeros_like(value) for name, value in params.items()}

    start = {name: value.detach().clone() for name, value in params.items()}
    return SGHMCState(start, zeros(), zeros(), zeros())


def _clone(params: Params) -> Params:
    return {name: value.clone() for name, value in params.items()}


def _standard_normal(like: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Draw the noise of all tensors in one call and hand out views of it."""
    sizes = [tensor.numel() for tensor in like]
    flat = torch.randn(sum(sizes), generator=generator, dtype=like[0].dtype, device=like[0].device)
    return [part.view(tensor.shape) for part, tensor in zip(flat.split(sizes), like, strict=True)]


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
    floors: Mapping[str, float] | None = None,
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
        preconditioner is unknown, and 1/ε in its place would be a wild random walk.
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
        Smallest value of 1/m̂ for each parameter, see `onfly.bayes.precondition`.
    inplace
        Reuse the buffers of `state`, which must not be used afterwards. The numbers are the same.
    """
    params, momentum, second, largest = (
        state.params,
        state.momentum,
        state.second_moment,
        state.max_second_moment,
    )
    if not inplace:
        params, momentum, second, largest = map(_clone, (params, momentum, second, largest))
    names = list(params)
    theta = [params[name] for name in names]
    p = [momentum[name] for name in names]
    v_max = [largest[name] for name in names]
    g = [
        torch.zeros_like(params[name]) if (grad := grads.get(name)) is None else grad
        for name in names
    ]
    update_second_moment([second[name] for name in names], v_max, g, beta=beta, step=state.step + 1)
    denominator = root_denominator(
        v_max, eps=eps, floors=None if floors is None else [floors[name] for name in names]
    )
    torch._foreach_mul_(p, 1.0 - friction)
    torch._foreach_add_(p, g, alpha=-friction)
    if temperature > 0.0:
        noise = list(torch._foreach_sqrt(denominator))
        torch._foreach_mul_(noise, list(torch._foreach_sign(v_max)))
        torch._foreach_mul_(noise, _standard_normal(theta, generator))
        scale = friction * math.sqrt(2.0 * temperature / (step_size * n_data))
        torch._foreach_add_(p, noise, alpha=scale)
    torch._foreach_addcdiv_(theta, p, denominator, value=step_size)
    return SGHMCState(params, momentum, second, largest, state.step + 1)
