"""One step of Adam towards the maximum of the posterior, for chains without noise.

The preconditioner of `onfly.bayes.sghmc` is that of AMSGrad, which never grows again after the
large gradients at the start of a cycle. A sampler needs that, or it would not keep the posterior
stationary; a fit does not, and learns less in as many steps (docs/posteriors.md). Here, as in
Kingma and Ba (arXiv:1412.6980, algorithm 1), the second moment forgets, and momentum and second
moment are corrected for their start at zero.
"""

from __future__ import annotations

from dataclasses import replace

from onfly.bayes.flat import FlatParams
from onfly.bayes.sghmc import SGHMCState, init
from onfly.bayes.transform import Transform

__all__ = ["step", "transform"]


def step(
    state: SGHMCState,
    grads: FlatParams,
    *,
    step_size: float,
    friction: float = 0.1,
    beta: float = 0.99,
    eps: float = 1e-8,
) -> SGHMCState:
    """Return the state after one step, in the buffers of `state`, which must not be used again.

    Parameters
    ----------
    state
        From `onfly.bayes.sghmc.init`; its `max_second_moment` is not used.
    grads
        Gradient of the negative log posterior per label.
    step_size
        Learning rate of this step.
    friction
        1 - β₁, the decay of the momentum.
    beta
        β₂, the decay of the second moment.
    eps
        ε.
    """
    count, g = state.step + 1, grads.vector
    momentum = state.momentum.vector.mul_(1.0 - friction).add_(g, alpha=friction)
    second = state.second_moment.vector.mul_(beta).addcmul_(g, g, value=1.0 - beta)
    denominator = (second / (1.0 - beta**count)).sqrt_().add_(eps)
    rate = step_size / (1.0 - (1.0 - friction) ** count)
    state.params.vector.addcdiv_(momentum, denominator, value=-rate)
    return replace(state, step=count)


def transform(*, friction: float = 0.1, beta: float = 0.99, eps: float = 1e-8) -> Transform:
    """Return the algorithm with its settings; see `step`. It has no use for a temperature."""

    def take(
        state: SGHMCState, grads: FlatParams, step_size: float, temperature: float
    ) -> SGHMCState:
        return step(state, grads, step_size=step_size, friction=friction, beta=beta, eps=eps)

    return Transform(init, take)
