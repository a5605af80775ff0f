"""The scale of a Gaussian over the last layer, from the forces of labels before they are learned.

A label brings one energy but 3 n_atoms forces, and a force along a direction is the slope of the
energy, whose variance follows from the same Gaussian: s² vᵀ (RᵀR + ς I)⁻¹ v, with v the slope of
the summed features. A new label therefore tells s² a few times over before it is learned. That
estimate is a prediction that was put to the test, not a fit: an over-confident posterior raises s
with the first label that it mispredicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from onfly.bayes.likelihood import LikelihoodScales
from onfly.potentials import Params
from onfly.seeds import numpy_stream

__all__ = ["FeatureTarget", "add", "directions", "force_ratio", "solve", "start"]

N_DIRECTIONS = 8


class FeatureTarget(Protocol):
    """What a Gaussian over the last layer needs of a target besides the `Target` protocol."""

    n_data: int
    scales: LikelihoodScales

    def summed_features(self, params: Params) -> Tensor:
        """Return the summed features of each label, shape (N, F)."""

    def feature_slopes(self, params: Params, index: int, directions: np.ndarray) -> Tensor:
        """Return their slopes along directions, shape (K, F)."""

    def force_errors(self, params: Params, index: int) -> Tensor:
        """Return predicted minus labelled forces of a label, shape (n_atoms, 3)."""

    def residual_rms(self, params: Params) -> tuple[float, float]:
        """Return the RMS errors of energies (eV) and force components (eV/Å) of all labels."""

    def n_atoms(self, index: int) -> int:
        """Return the number of atoms of a label."""


def directions(
    target: FeatureTarget, index: int, count: int, seed_key: tuple[str | int, ...]
) -> np.ndarray:
    """Return random unit vectors in the coordinates of a label, shape (count, n_atoms, 3)."""
    vectors = numpy_stream(*seed_key, "directions", index).normal(
        size=(count, target.n_atoms(index), 3)
    )
    return vectors / np.linalg.norm(vectors, axis=(1, 2), keepdims=True)


def solve(factor: Tensor, features: Tensor) -> Tensor:
    """Return fᵀ (L Lᵀ)⁻¹ f.

    Parameters
    ----------
    factor
        Cholesky factors L, shape (M, F, F).
    features
        Shape (M, B, F).

    Returns
    -------
    torch.Tensor
        Shape (M, B), float64.
    """
    factor = factor.to(features.device)
    solved = torch.linalg.solve_triangular(factor, features.double().mT, upper=False)
    return solved.square().sum(-2)


def force_ratio(
    target: FeatureTarget,
    members: Sequence[Params],
    factor: Tensor,
    index: int,
    seed_key: tuple[str | int, ...],
) -> float:
    """Return the mean of squared force errors of a label over their variance for s = 1.

    Parameters
    ----------
    target
        Labels.
    members
        Before they learned the label.
    factor
        Their Cholesky factors, shape (M, F, F).
    index
        Number of the label.
    seed_key
        Of the random directions.
    """
    chosen = directions(target, index, N_DIRECTIONS, seed_key)
    slopes = torch.stack([target.feature_slopes(m, index, chosen) for m in members])
    errors = torch.stack([target.force_errors(m, index) for m in members]).mean(0)
    projected = torch.einsum("kni,ni->k", torch.as_tensor(chosen).to(errors), errors)
    return float((projected.square() / solve(factor, slopes).mean(0)).mean())


def start(scale: float) -> Tensor:
    """Return s² and the number of labels it rests on (one, in place of none), shape (2,)."""
    return torch.tensor([scale**2, 1.0], dtype=torch.float64)


def add(fitted: Tensor, ratio: float, memory: int) -> Tensor:
    """Return s² after one more label: the mean of the ratios, with the old ones fading."""
    square, count = fitted.tolist()
    count = min(count, memory - 1.0) + 1.0
    return torch.tensor([square + (ratio - square) / count, count], dtype=torch.float64)
