"""Mean and variance of an ensemble by the law of total variance."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["energy_moments", "force_moments"]


def _spread(values: Tensor) -> Tensor:
    """Return the unbiased variance over the first dimension; zero for a single member."""
    return values.var(0, unbiased=True) if values.shape[0] > 1 else torch.zeros_like(values[0])


def energy_moments(energies: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance over members, each of shape (B,), in float64.

    Parameters
    ----------
    energies
        Energies by each member in eV, shape (M, B).

    Notes
    -----
    This is the disagreement of the members. The total variance adds the mean of the members' own
    σ_E², which is the same fixed number for all; the caller adds it.
    """
    energies = energies.double()
    return energies.mean(0), _spread(energies)


def force_moments(forces: Tensor, member_std: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean forces, shape (N, 3), and the std of a force component, shape (N,).

    Parameters
    ----------
    forces
        Forces by each member in eV/Å, shape (M, N, 3).
    member_std
        σ_F by each member's head in eV/Å, shape (M, N); None leaves the members' own variances
        out.

    Notes
    -----
    Variance = variance over members, averaged over the three components, + mean of the members'
    own σ_F².
    """
    variance = _spread(forces).mean(-1)
    if member_std is not None:
        variance = variance + member_std.square().mean(0)
    return forces.mean(0), variance.sqrt()
