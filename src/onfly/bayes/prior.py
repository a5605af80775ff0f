"""Gaussian transfer-learning prior: mean at the pretrained weights, one std per tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onfly.bayes.flat import FlatParams
from onfly.bayes.heads import is_head
from onfly.potentials import Params

__all__ = ["GaussianPrior", "NegativeLogPosterior"]


@dataclass(frozen=True)
class GaussianPrior:
    """Independent Gaussians over all parameters (paper, section on the prior).

    Parameters
    ----------
    mean
        Prior mean of every parameter. Build it with `around`: a mean that shares memory with
        weights that are being sampled moves with them and is no prior.
    std
        Prior standard deviation σ_TL of every tensor.
    """

    mean: Params
    std: dict[str, float]

    def __post_init__(self) -> None:
        if missing := self.mean.keys() ^ self.std.keys():
            raise ValueError(f"prior mean and std name different parameters: {sorted(missing)}")
        for name, std in self.std.items():
            if not math.isfinite(std) or std <= 0.0:
                raise ValueError(f"prior std of {name} must be finite and positive, got {std!r}")

    @classmethod
    def around(
        cls,
        params: Params,
        prior_std: float,
        *,
        scale: Mapping[str, float] | None = None,
        head_std: float | None = None,
    ) -> GaussianPrior:
        """Build the prior around pretrained weights.

        Parameters
        ----------
        params
            Pretrained parameters, cloned; the prior mean of the heads is zero.
        prior_std
            σ_TL.
        scale
            Factors on σ_TL for tensors that were rescaled (``Potential.prior_scale()``).
        head_std
            Prior std of the heads' weights; None takes ``prior_std``.

        Raises
        ------
        ValueError
            If a std is not finite and positive, or ``scale`` names an unknown parameter.
        """
        scale = dict(scale or {})
        if unknown := scale.keys() - params.keys():
            raise ValueError(f"prior scale names unknown parameters: {sorted(unknown)}")
        mean = {
            name: torch.zeros_like(value) if is_head(name) else value.detach().clone()
            for name, value in params.items()
        }
        std = {
            name: (prior_std if head_std is None else head_std)
            if is_head(name)
            else prior_std * scale.get(name, 1.0)
            for name in params
        }
        return cls(mean, std)

    def _difference(self, params: Params) -> list[Tensor]:
        return list(
            torch._foreach_sub([params[name] for name in self.mean], list(self.mean.values()))
        )

    def log_prob(self, params: Params) -> Tensor:
        """Return the log density of all parameters, a scalar in float64."""
        norms = torch.stack(torch._foreach_norm(self._difference(params))).double()
        std = torch.tensor(list(self.std.values()), dtype=torch.float64, device=norms.device)
        constant = sum(
            value.numel() * (math.log(self.std[name]) + 0.5 * math.log(2.0 * math.pi))
            for name, value in self.mean.items()
        )
        return -0.5 * (norms / std).square().sum() - constant

    def drift(self, params: Params) -> float:
        """Return the RMS distance of the non-head parameters from the mean, in prior stds."""
        total, count = 0.0, 0
        for name, difference in zip(self.mean, self._difference(params), strict=True):
            if not is_head(name):
                total += float((difference.double() / self.std[name]).square().sum())
                count += difference.numel()
        return math.sqrt(total / max(count, 1))


@dataclass(frozen=True)
class NegativeLogPosterior:
    """g = ∇[-(1/N) log prior - mean log-likelihood], with the prior laid out once for a cycle.

    Parameters
    ----------
    mean
        Prior mean, shape (P,).
    weight
        1/(N σ_TL²), shape (P,).
    """

    mean: Tensor
    weight: Tensor

    @classmethod
    def of(cls, prior: GaussianPrior, like: FlatParams, n_data: int) -> NegativeLogPosterior:
        """Lay out a prior in the order of some parameters, for N labels."""
        weight = {name: 1.0 / (n_data * std**2) for name, std in prior.std.items()}
        return cls(like.gather(prior.mean), like.spread(weight))

    def gradient(
        self, params: FlatParams, likelihood_grads: Mapping[str, Tensor | None]
    ) -> FlatParams:
        """Return g; a missing gradient of the likelihood counts as zero."""
        g = params.gather(likelihood_grads).neg_()
        return params.with_vector(g.addcmul_(params.vector - self.mean, self.weight))
