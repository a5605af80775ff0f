"""AMSGrad preconditioner, for all parameters in one vector."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["root_denominator", "update_second_moment"]


def update_second_moment(
    second_moment: Tensor,
    max_second_moment: Tensor,
    grads: Tensor,
    *,
    beta: float,
    step: int,
) -> None:
    """Update, in place, the running mean of g² and the maximum of its bias-corrected value.

    The maximum is taken over corrected values, so it can only grow; a maximum over uncorrected
    values that is corrected afterwards shrinks in the first steps.

    Parameters
    ----------
    second_moment, max_second_moment, grads
        Tensors of one shape.
    beta
        Decay of the running mean.
    step
        Number of this update, from 1.
    """
    second_moment.mul_(beta).addcmul_(grads, grads, value=1.0 - beta)
    corrected = second_moment / (1.0 - beta**step)
    torch.maximum(max_second_moment, corrected, out=max_second_moment)


def root_denominator(
    max_second_moment: Tensor, *, eps: float, floors: Tensor | None = None
) -> Tensor:
    """Return sqrt(v̂) + ε, the inverse of the preconditioner m̂.

    Parameters
    ----------
    max_second_moment
        v̂.
    eps
        ε.
    floors
        Smallest allowed values, of the same shape. Without them, a direction that the labels
        hardly see has m̂ = 1/ε and its noise leaves the prior within a few steps.
    """
    denominator = max_second_moment.sqrt().add_(eps)
    return denominator if floors is None else denominator.clamp_min_(floors)
