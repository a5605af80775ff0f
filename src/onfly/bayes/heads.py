"""Small heads that predict the standard deviation of the forces of each atom.

σ_F = σ_base · exp(MLP(invariant node features)), layers n_features-64-16-1 with SiLU (paper,
section on the likelihood). Only the last layer starts at zero, so that σ_F starts at its base
value; if all layers were zero, no gradient would ever reach the layers below the last bias.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from onfly.potentials import Params, Potential
from onfly.seeds import torch_stream

__all__ = [
    "HEAD_PREFIX",
    "has_head",
    "head_log_scale",
    "head_parameters",
    "is_head",
    "with_heads",
    "without_head",
]

HEAD_PREFIX = "head."
HIDDEN = (64, 16)
# exp(±10) is far outside what a force uncertainty can be; beyond, float32 likelihoods overflow
MAX_LOG_SCALE = 10.0


def is_head(name: str) -> bool:
    """Tell whether a parameter belongs to a head."""
    return name.startswith(HEAD_PREFIX)


def has_head(params: Params) -> bool:
    """Tell whether the parameters hold a head."""
    return f"{HEAD_PREFIX}0.weight" in params


def without_head(params: Params) -> Params:
    """Return the parameters that belong to the potential itself."""
    return {name: value for name, value in params.items() if not is_head(name)}


def head_parameters(
    n_features: int,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Params:
    """Return fresh head weights: small random numbers, the last layer zero.

    Parameters
    ----------
    n_features
        Number of invariant features of an atom.
    generator
        Source of the random numbers, on the CPU, so that all devices start alike.
    """
    widths = (n_features, *HIDDEN, 1)
    params: Params = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        weight = torch.zeros(n_out, n_in, dtype=dtype)
        if layer < len(widths) - 2:
            weight.normal_(generator=generator).mul_(0.5 * n_in**-0.5)
        params[f"{HEAD_PREFIX}{layer}.weight"] = weight.to(device)
        params[f"{HEAD_PREFIX}{layer}.bias"] = torch.zeros(n_out, dtype=dtype, device=device)
    return params


def with_heads(
    members: Iterable[Params], potential: Potential, seed_key: tuple[str | int, ...]
) -> tuple[Params, ...]:
    """Return members with fresh heads, each from a random stream of its own."""
    return tuple(
        member
        | head_parameters(
            potential.n_features,
            torch_stream(*seed_key, "head", number),
            dtype=potential.dtype,
            device=potential.device,
        )
        for number, member in enumerate(members)
    )


def head_log_scale(params: Params, features: Tensor) -> Tensor:
    """Return log(σ_F/σ_base) of each atom; zero where the parameters hold no head.

    Parameters
    ----------
    params
        Parameters, with those of the head if there is one.
    features
        Invariant node features, shape (N, F).

    Returns
    -------
    torch.Tensor
        Shape (N,), within ±10.
    """
    if not has_head(params):
        return features.new_zeros(len(features))
    hidden = features
    last = len(HIDDEN)
    for layer in range(last + 1):
        hidden = linear(
            hidden, params[f"{HEAD_PREFIX}{layer}.weight"], params[f"{HEAD_PREFIX}{layer}.bias"]
        )
        if layer < last:
            hidden = silu(hidden)
    return hidden.squeeze(-1).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
