"""RᵀR of the Gaussian over a last layer, and the noise of its rows.

With f the summed node features, the energy of a label is wᵀ f, its forces are -wᵀ ∂f/∂x and its
stress wᵀ ∂f/∂ε / V. Each divided by its noise is a row of R: RᵀR is the Gauss-Newton Hessian of the
likelihood by the last layer. The noise of a kind of label is the std of the likelihood, or what the
fit left if that is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from onfly.bayes.likelihood import LikelihoodScales
from onfly.potentials import Params
from onfly.seeds import numpy_stream

__all__ = ["FeatureTarget", "LabelErrors", "RowNoise", "directions", "gram"]

# labels whose errors make the RMS of a species' own: below, that of all is mixed in
PRIOR_COUNT = 30.0


@dataclass(frozen=True)
class LabelErrors:
    """Predictions minus labels, float64.

    Parameters
    ----------
    energy
        eV, shape (B,).
    forces
        eV/Å, shape (N, 3), label after label.
    stress
        eV/Å³, of the labels that have one, shape (B', 3, 3).
    species
        Atomic number of each atom, shape (N,).
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    species: Tensor


class FeatureTarget(Protocol):
    """What a Gaussian over the last layer needs of a target besides the `Target` protocol."""

    n_data: int
    scales: LikelihoodScales

    def summed_features(self, params: Params) -> Tensor:
        """Return the summed features of each label, shape (N, F)."""

    def map_rows(
        self, params: Params, chunks: Sequence[Sequence[int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return derivatives of force and stress components by the last layer.

        Of each chunk of labels.
        """

    def feature_slopes(self, params: Params, index: int, directions: np.ndarray) -> Tensor:
        """Return slopes of the summed features along directions, shape (K, F)."""

    def errors(self, params: Params, indices: Sequence[int] | None = None) -> LabelErrors:
        """Return predictions minus labels; None takes all labels."""

    def n_atoms(self, index: int) -> int:
        """Return the number of atoms of a label."""

    def fingerprint(self, n_labels: int | None = None) -> str:
        """Return a hash of the first labels; None takes all."""


@dataclass(frozen=True)
class RowNoise:
    """Standard deviations of the rows.

    Parameters
    ----------
    energy, force, stress
        eV, eV/Å, eV/Å³: never below those of the likelihood.
    species
        Kinds of atoms met, shape (Z,).
    species_force
        Noise of a force component for each of them, eV/Å, shape (Z,). A kind with few components
        takes part of that of all.
    """

    energy: float
    force: float
    stress: float
    species: Tensor
    species_force: Tensor

    @classmethod
    def of(cls, errors: LabelErrors, scales: LikelihoodScales) -> RowNoise:
        """Return the noise that the likelihood and the errors of the fit say."""
        force = max(scales.force_std_base, _rms(errors.forces))
        kinds, place = errors.species.cpu().unique(return_inverse=True)
        per_atom = errors.forces.cpu().square()
        square = torch.zeros(len(kinds), 3, dtype=torch.float64).index_add(0, place, per_atom)
        count = 3.0 * torch.bincount(place, minlength=len(kinds)).double()
        own = (square.sum(1) + PRIOR_COUNT * force**2) / (count + PRIOR_COUNT)
        return cls(
            energy=max(scales.energy_std, _rms(errors.energy)),
            force=force,
            stress=max(scales.stress_std, _rms(errors.stress)),
            species=kinds,
            species_force=own.sqrt().clamp_min(scales.force_std_base),
        )


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt()) if values.numel() else 0.0


def directions(
    target: FeatureTarget, index: int, count: int, seed_key: tuple[str | int, ...]
) -> np.ndarray:
    """Return random unit vectors in the coordinates of a label, shape (count, n_atoms, 3)."""
    vectors = numpy_stream(*seed_key, "directions", index).normal(
        size=(count, target.n_atoms(index), 3)
    )
    return vectors / np.linalg.norm(vectors, axis=(1, 2), keepdims=True)


def gram(
    target: FeatureTarget,
    params: Params,
    noise: RowNoise,
    *,
    force_rows: int,
    seed_key: tuple[str | int, ...],
) -> Tensor:
    """Return RᵀR of energies and random directions, shape (F, F), float64.

    That of all rows is `onfly.bayes.row_sums.RowSums.gram`.

    Parameters
    ----------
    target
        Labels.
    params
        Of the model, around which energies are linear in the last layer.
    noise
        Of the rows.
    force_rows
        Random directions of each label, with the weight of all its components, and no stress; 0
        takes energies only.
    seed_key
        Of the random directions.
    """
    rows = target.summed_features(params) / noise.energy
    total = rows.T @ rows
    for index in range(target.n_data if force_rows else 0):
        chosen = directions(target, index, force_rows, seed_key)
        slopes = target.feature_slopes(params, index, chosen)
        weight = 3.0 * target.n_atoms(index) / force_rows / noise.force**2
        total += weight * slopes.T @ slopes
    return total
