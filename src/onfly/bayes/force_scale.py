"""The scale of a Gaussian over the last layer, from the forces of labels before they are learned.

Derivation. The energy is linear in the last layer, E(x) = f(x)ᵀ w with f the features summed over
the atoms, and its weights have the covariance s² A⁻¹ with A = RᵀR + ς I (`last_layer`), so that
Var E = s² fᵀ A⁻¹ f. Let d be a unit vector of all 3 n_atoms coordinates. The force along it is
F·d = -∂E/∂d = -uᵀ w with u = ∂f/∂d, the slope of the features: the same Gaussian gives it the
variance s² v, v = uᵀ A⁻¹ u, with the same s and no new assumption. With the Cholesky factor
A = L Lᵀ, v = |L⁻¹ u|² (`solve`).

A label brings one energy but 3 n_atoms forces. A new label therefore tells s a few times over
before it is learned, by predictions that were put to the test and not by a fit. The squared error
of such a force is modelled as s² v + ε², where ε is what the fit left of the forces that were
learned: without ε, labels that resemble each other, as those of successive MD steps do, would raise
s although only the fit is imperfect.

s only widens: forces tell nothing of errors that all forces share, such as that of the strain of a
cell, and where the fit came out below its start the std was too small in every case of the study
(docs/posteriors.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onfly.bayes.last_layer_rows import FeatureTarget, directions
from onfly.potentials import Params

__all__ = ["fit", "force_errors", "solve"]

N_DIRECTIONS = 8
# of log s around the value to start from: a factor e, so that two or three labels overrule it
LOG_STD = 1.0
# width and number of points of the grid of log s: steps of 2 %
GRID = 8.0, 401


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


def force_errors(
    target: FeatureTarget,
    members: Sequence[Params],
    factor: Tensor,
    noise: float,
    index: int,
    seed_key: tuple[str | int, ...],
) -> Tensor:
    """Return what a label says about s, before it is learned.

    Parameters
    ----------
    target
        Labels.
    members
        Before they learned the label.
    factor
        Their Cholesky factors, shape (M, F, F).
    noise
        ε, eV/Å.
    index
        Number of the label.
    seed_key
        Of the random directions.

    Returns
    -------
    torch.Tensor
        Squared error of the mean force, v and ε² for each direction, shape (8, 3), float64.
    """
    chosen = directions(target, index, N_DIRECTIONS, seed_key)
    slopes = torch.stack([target.feature_slopes(m, index, chosen) for m in members])
    errors = torch.stack([target.errors(m, [index]).forces for m in members]).mean(0)
    projected = torch.einsum("kni,ni->k", torch.as_tensor(chosen).to(errors), errors)
    variance = solve(factor, slopes).mean(0)
    found = [projected.square(), variance, torch.full_like(variance, noise**2)]
    return torch.stack(found, dim=1).double().cpu()


def fit(observed: Tensor, start: float) -> float:
    """Return the most probable s of those that are not below `start`.

    With e_k the errors of the forces along the directions, e_k ~ N(0, s² v_k + ε_k²), and the
    prior log s ~ N(log s₀, 1), s₀ being `start`, the logarithm of the posterior density of log s
    is, up to a constant,

        -½ Σ_k [log(s² v_k + ε_k²) + e_k² / (s² v_k + ε_k²)] - ½ (log s - log s₀)².

    It can have several maxima when the v_k differ much, so it is evaluated on a grid of log s and
    not climbed.

    Parameters
    ----------
    observed
        Rows of `force_errors`, shape (K, 3); K may be 0.
    start
        Where s is expected before anything is seen, and its smallest value.
    """
    width, points = GRID
    log_ratio = torch.linspace(0.0, width, int(points), dtype=torch.float64)
    square, variance, noise = observed.T
    expected = start**2 * torch.exp(2.0 * log_ratio)[:, None] * variance + noise
    value = -0.5 * (expected.log() + square / expected).sum(1) - 0.5 * (log_ratio / LOG_STD) ** 2
    return start * math.exp(float(log_ratio[value.argmax()]))
