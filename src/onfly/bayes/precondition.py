"""AMSGrad preconditioner, fused over all tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["root_denominator", "update_second_moment"]


def update_second_moment(
    second_moment: list[Tensor],
    max_second_moment: list[Tensor],
    grads: list[Tensor],
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
        Tensors in the same order.
    beta
        Decay of the running mean.
    step
        Number of this update, from 1.
    """
    torch._foreach_mul_(second_moment, beta)
    torch._foreach_addcmul_(second_moment, grads, grads, 1.0 - beta)
    corrected = torch._foreach_div(second_moment, 1.0 - beta**step)
    torch._foreach_maximum_(max_second_moment, corrected)


def root_denominator(
    max_second_moment: list[Tensor], *, eps: float, floors: Sequence[float] | None = None
) -> list[Tensor]:
    """Return sqrt(v̂) + ε, the inverse of the preconditioner m̂.

    Parameters
    ----------
    max_second_moment
        v̂.
    eps
        ε.
    floors
        Smallest allowed value of each tensor. Without one, a direction that the labels hardly see
        has m̂ = 1/ε and its noise leaves the prior within a few steps.
    """
    denominator = list(torch._foreach_sqrt(max_second_moment))
    torch._foreach_add_(denominator, eps)
    if floors is not None:
        torch._foreach_clamp_min_(denominator, list(floors))
    return denominator
