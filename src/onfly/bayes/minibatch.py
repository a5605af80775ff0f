"""Minibatches that favour the newest labels, with exact importance weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PrioritySampler"]


@dataclass(frozen=True)
class PrioritySampler:
    """Draws with replacement from q, weighted by p_uniform/q.

    Each of the newest labels appears at least once per minibatch on average. Together the newest
    take at most half of the draws (or their share of the data, if that is more), so that old labels
    keep a positive probability whatever the batch size.

    Parameters
    ----------
    n_data
        Number of labels N.
    batch_size
        Draws per minibatch B; the number of distinct labels in it may be smaller.
    n_new
        The last `n_new` labels are the newest ones.

    Raises
    ------
    ValueError
        If there is no label or no draw, or more newest labels than labels.
    """

    n_data: int
    batch_size: int
    n_new: int = 1

    def __post_init__(self) -> None:
        if self.n_data < 1 or self.batch_size < 1:
            raise ValueError(
                f"need at least one label and one draw, got n_data={self.n_data}, "
                f"batch_size={self.batch_size}"
            )
        if not 0 <= self.n_new <= self.n_data:
            raise ValueError(f"n_new={self.n_new} is not between 0 and n_data={self.n_data}")

    def probabilities(self) -> Tensor:
        """Return the probability q of each label in one draw, shape (N,), float64."""
        n_old = self.n_data - self.n_new
        uniform = torch.full((self.n_data,), 1.0 / self.n_data, dtype=torch.float64)
        if n_old == 0 or self.n_new == 0:
            return uniform
        newest = max(self.n_new / self.n_data, min(self.n_new / self.batch_size, 0.5))
        q = torch.full_like(uniform, (1.0 - newest) / n_old)
        q[n_old:] = newest / self.n_new
        return q

    def weights(self, counts: Tensor, indices: Tensor) -> Tensor:
        """Return the weights of distinct labels that were drawn `counts` times."""
        q = self.probabilities()[indices]
        return counts.double() / (self.batch_size * self.n_data * q)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a minibatch.

        Returns
        -------
        indices : torch.Tensor
            Distinct labels, ascending, int64.
        weights : torch.Tensor
            Of the same shape, float64. ``(weights * x[indices]).sum()`` is an unbiased estimate of
            ``x.mean()`` over all labels: the weights contain p_uniform/q, 1/B and the number of
            times each label was drawn.
        """
        drawn = torch.multinomial(
            self.probabilities(), self.batch_size, replacement=True, generator=generator
        )
        indices, counts = torch.unique(drawn, return_counts=True)
        return indices, self.weights(counts, indices)
