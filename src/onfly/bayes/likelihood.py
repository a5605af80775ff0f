"""Gaussian likelihood of a labelled configuration: energy, force and stress components."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onfly.potentials import Prediction
from onfly.units import EV_PER_KCAL_MOL

__all__ = ["LabelBatch", "LikelihoodScales", "log_likelihood"]


# σ_E as a part of the threshold (paper)
ENERGY_STD_FRACTION = 0.1


@dataclass(frozen=True)
class LikelihoodScales:
    """Standard deviations of the likelihood, in eV, eV/Å and eV/Å³.

    Parameters
    ----------
    energy_std
        σ_E of the total energy; the paper takes 10 % of the error threshold.
    force_std_base
        σ_F of a force component where the head gives 0 (0.1 kcal/mol/Å in the paper).
    stress_std
        σ_S of a stress component (0.1/16 kcal/mol/Å³ in the paper).

    Raises
    ------
    ValueError
        If one is not finite and positive.

    Examples
    --------
    σ_E for a tolerance of 50 meV, as in the paper and balanced for a cell of 8 atoms:

    >>> round(LikelihoodScales.for_threshold(0.05).energy_std, 4)
    0.005
    >>> round(LikelihoodScales.for_threshold(0.20, n_atoms=8).energy_std, 4)
    0.0071
    """

    energy_std: float
    force_std_base: float = 0.1 * EV_PER_KCAL_MOL
    stress_std: float = 0.1 / 16.0 * EV_PER_KCAL_MOL

    @classmethod
    def for_threshold(
        cls,
        threshold: float | None,
        energy_std: float | None = None,
        n_atoms: int | None = None,
    ) -> LikelihoodScales:
        """Return the scales for an error threshold.

        σ_E is a tenth of the threshold, as in the paper, but with `n_atoms` no more than
        σ_F sqrt(N/3): there an energy weighs as much as all force components of one atom on
        average, the balance of losses with equal weights on the energy per atom and the forces.
        Without that bound a threshold that grows with the cell lets fits neglect the energy
        (docs/posteriors.md).

        Parameters
        ----------
        threshold
            Error threshold K of the whole cell, eV; None needs one of the other two.
        energy_std
            σ_E in eV, where a model keeps the one that its calibration refers to.
        n_atoms
            Number of atoms N of the cell; None takes the paper's σ_E.
        """
        if energy_std is None and threshold is None and n_atoms is None:
            raise ValueError("σ_E follows from a threshold or from the number of atoms: give one")
        fraction = ENERGY_STD_FRACTION * (math.inf if threshold is None else threshold)
        scales = cls(energy_std=energy_std or min(fraction, 1e6))
        if energy_std is not None or n_atoms is None:
            return scales
        if n_atoms < 1:
            raise ValueError(f"a cell has at least one atom, got n_atoms={n_atoms!r}")
        balanced = scales.force_std_base * math.sqrt(n_atoms / 3.0)
        return replace(scales, energy_std=min(scales.energy_std, balanced))

    def __post_init__(self) -> None:
        for name in ("energy_std", "force_std_base", "stress_std"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0.0:
                raise ValueError(f"{name} must be finite and positive, got {value!r}")


@dataclass(frozen=True)
class LabelBatch:
    """Labels of B configurations with N atoms in all.

    Parameters
    ----------
    energy
        On the scale of the foundation potential (offset added), eV, shape (B,).
    forces
        eV/Å, shape (N, 3).
    stress
        eV/Å³, tension positive, shape (B, 3, 3); zeros where `has_stress` is False. None if no
        configuration has a stress.
    has_stress
        Shape (B,), bool; None if no configuration has a stress.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor | None = None
    has_stress: Tensor | None = None


def _gaussian(z2: Tensor, log_std: Tensor | float, count: float) -> Tensor:
    return -0.5 * z2 - count * (log_std + 0.5 * math.log(2.0 * math.pi))


def log_likelihood(
    prediction: Prediction,
    labels: LabelBatch,
    log_scale: Tensor,
    owner: Tensor,
    scales: LikelihoodScales,
) -> Tensor:
    """Return the log-likelihood of each configuration (paper, section on the likelihood).

    Parameters
    ----------
    prediction
        With forces, and with stresses if any configuration of the batch has one.
    labels
        What was labelled.
    log_scale
        log(σ_F/σ_base) of each atom, shape (N,).
    owner
        Configuration of each atom, shape (N,).
    scales
        Standard deviations.

    Returns
    -------
    torch.Tensor
        Shape (B,).
    """
    assert prediction.forces is not None
    energy_z2 = ((prediction.energy - labels.energy) / scales.energy_std).square()
    result = _gaussian(energy_z2, math.log(scales.energy_std), 1.0)

    residual2 = (prediction.forces - labels.forces).square().sum(-1)
    force_z2 = residual2 * torch.exp(-2.0 * log_scale) / scales.force_std_base**2
    per_atom = _gaussian(force_z2, log_scale + math.log(scales.force_std_base), 3.0)
    # energies may be of higher precision than forces: they are sums over the cell
    result = result.index_add(0, owner, per_atom.to(result.dtype))

    if labels.stress is not None and labels.has_stress is not None:
        if prediction.stress is None:
            raise ValueError("labels have stresses but the prediction has none")
        difference = torch.where(
            labels.has_stress[:, None, None], prediction.stress - labels.stress, 0.0
        )
        stress_z2 = (difference / scales.stress_std).square().sum((-2, -1))
        constant = _gaussian(stress_z2, math.log(scales.stress_std), 9.0)
        result = result + torch.where(labels.has_stress, constant, 0.0)
    return result
