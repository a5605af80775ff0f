"""What a chain has to know of labels and a model; `onfly.learning` makes it from atoms."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from onfly.potentials import Defaults, Params

__all__ = ["Target"]


class Target(Protocol):
    """Labels and a model, as far as a sampler has to know them.

    Attributes
    ----------
    n_data
        Number of labels N.
    defaults
        Settings of the method for the model, or None.
    """

    n_data: int
    defaults: Defaults | None

    def reference(self) -> Params:
        """Return fresh copies of the model's parameters at the prior mean, without heads."""

    def prior_scale(self) -> dict[str, float]:
        """Return factors on σ_TL for some of the parameters."""

    def value_and_grad(
        self, params: Params, indices: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Return the weighted sum of log-likelihoods and its gradient.

        Parameters
        ----------
        params
            All parameters by name.
        indices, weights
            From `PrioritySampler.draw`, on the CPU.
        """

    def fingerprint(self) -> str:
        """Return a hash of the labels."""
