"""A cheap posterior: one fitted model, and a closed-form Gaussian over its last layer.

The chain runs without noise, so that it ends near the maximum of the posterior. Around it the total
energy is taken as linear in the invariant node features, summed over the atoms, f: with the rows of
all labels (energies over σ_E, slopes along random directions over σ_F) in R, the variance of the
energy of a new configuration is s² fᵀ (RᵀR + ς I)⁻¹ f. Its ranking of errors is its virtue; the
scale is left to the calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from onfly.bayes import ensemble
from onfly.bayes.chain_task import ChainSettings, from_bytes, single_thread
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.parallel import ChainPool, Progress, TargetFactory, run_chains
from onfly.bayes.posterior import Posterior, PosteriorState, UpdateInfo
from onfly.bayes.sghmc_posterior import chain_tasks, update_info
from onfly.potentials import Params
from onfly.seeds import numpy_stream

__all__ = ["FeatureTarget", "LastLayerPosterior"]


class FeatureTarget(Protocol):
    """What this posterior needs of a target besides the `Target` protocol."""

    n_data: int
    scales: LikelihoodScales

    def summed_features(self, params: Params) -> Tensor:
        """Return the summed features of each label, shape (N, F)."""

    def feature_slopes(self, params: Params, index: int, directions: np.ndarray) -> Tensor:
        """Return their slopes along directions, shape (K, F)."""

    def n_atoms(self, index: int) -> int:
        """Return the number of atoms of a label."""


@dataclass(frozen=True)
class LastLayerPosterior(ChainSettings, Posterior):
    """Noise-free chains with a Gaussian over the last layer.

    The settings of the chain are those of `ChainSettings`, with other defaults.

    Parameters
    ----------
    n_members
        Number of chains; the variance over them is added to the Gaussian's.
    ridge
        ς relative to the mean diagonal element of RᵀR.
    force_rows
        Random directions per label along which slopes enter; 0 takes energies only. Their weight
        is that of all 3 n_atoms force components.
    scale
        s, the factor on the standard deviation.
    """

    n_steps: int = 500
    burn_in: float = 1.0
    n_members: int = 1
    ridge: float = 1e-4
    force_rows: int = 8
    scale: float = 1.0

    kind: ClassVar[str] = "last_layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_members < 1 or self.force_rows < 0:
            raise ValueError(
                f"need n_members >= 1 and force_rows >= 0, got {self.n_members}, {self.force_rows}"
            )
        for name in ("ridge", "scale"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0.0:
                raise ValueError(f"{name} must be finite and positive, got {value!r}")

    @property
    def needs_features(self) -> bool:
        """The variance is a function of the features."""
        return True

    def update(
        self,
        state: PosteriorState,
        target_factory: TargetFactory,
        *,
        seed_key: tuple[str | int, ...],
        generation: int,
        n_new: int = 1,
        n_workers: int = 1,
        cache_dir: str | Path | None = None,
        pool: ChainPool | None = None,
        on_progress: Progress | None = None,
    ) -> tuple[PosteriorState, UpdateInfo]:
        """Run the chains and build the Gaussian; see `Posterior.update`."""
        if len(state.members) != self.n_members:
            raise ValueError(
                f"the state has {len(state.members)} members, the settings ask for {self.n_members}"
            )
        tasks = chain_tasks(
            self, state, seed_key, generation=generation, n_new=n_new, cache_dir=cache_dir
        )
        target = target_factory()
        results = run_chains(
            target_factory if pool is not None or n_workers > 1 else lambda: target,
            tasks,
            n_workers=n_workers,
            pool=pool,
            on_progress=on_progress,
        )
        members = tuple(
            from_bytes(result.sample, member)
            for result, member in zip(results, state.members, strict=True)
        )
        with single_thread():
            factors = torch.stack([self._factor(target, member, seed_key) for member in members])  # type: ignore[arg-type]
        return PosteriorState(self.kind, members, {"factor": factors}), update_info(results)

    def _factor(
        self, target: FeatureTarget, params: Params, seed_key: tuple[str | int, ...]
    ) -> Tensor:
        """Return the Cholesky factor of (RᵀR + ς I), shape (F, F), float64."""
        rows = target.summed_features(params) / target.scales.energy_std
        gram = rows.T @ rows
        for i in range(target.n_data if self.force_rows else 0):
            shape = (self.force_rows, target.n_atoms(i), 3)
            directions = numpy_stream(*seed_key, "directions", i).normal(size=shape)
            directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
            slopes = target.feature_slopes(params, i, directions)
            weight = 3.0 * shape[1] / shape[0] / target.scales.force_std_base**2
            gram += weight * slopes.T @ slopes
        size = len(gram)
        gram += self.ridge * gram.diagonal().mean() * torch.eye(size).to(gram)
        return torch.linalg.cholesky(gram)

    def energy_moments(
        self, state: PosteriorState, energies: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the energy; see `Posterior.energy_moments`.

        Before the first update the variance is that over the members, which is zero.

        Raises
        ------
        ValueError
            If the features are missing.
        """
        mean, variance = ensemble.energy_moments(energies)
        if "factor" not in state.extra:
            return mean, variance
        if features is None:
            raise ValueError("the last-layer posterior needs the summed node features")
        factor = state.extra["factor"].to(features.device)
        solved = torch.linalg.solve_triangular(factor, features.double().mT, upper=False)
        own = self.scale**2 * solved.square().sum(-2)
        return mean, variance + own.mean(0)
