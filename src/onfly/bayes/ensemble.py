"""Mean and variance of an ensemble by the law of total variance."""

from __future__ import annotations

from torch import Tensor

__all__ = ["energy_moments", "force_moments", "moments"]


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance over the first dimension, in float64.

    The variance of a single member is zero.
    """
    values = values.double()
    mean = values.mean(0)
    return mean, values.var(0, unbiased=True) if len(values) > 1 else mean.new_zeros(mean.shape)


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
    return moments(energies)


def force_moments(forces: Tensor, member_std: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the force components, each of shape (N, 3), in float64.

    Parameters
    ----------
    forces
        Forces by each member in eV/Å, shape (M, N, 3).
    member_std
        σ_F by each member's head in eV/Å, shape (M, N); None leaves the members' own variances
        out.

    Notes
    -----
    Variance = variance over members + mean of the members' own σ_F².
    """
    mean, variance = moments(forces)
    if member_std is not None:
        variance = variance + member_std.double().square().mean(0)[:, None]
    return mean, variance
