"""A cheap posterior: one fitted model, and a Gaussian over its last layer in closed form.

The chain runs without noise, so that it ends near the maximum of the posterior. Around it the total
energy is taken as linear in the invariant node features, summed over the atoms, f: with the rows of
all labels (energies over their noise, slopes along random directions over that of the forces) in R,
the variance of the energy of a new configuration is s² fᵀ (RᵀR + ς I)⁻¹ f.

Two things keep it honest, because the model is not linear and a short chain does not fit to the
noise of DFT: the noise is never taken smaller than the residuals of the labels that were learned,
and s grows with the errors of labels before they are learned (`onfly.bayes.force_scale`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from onfly.bayes import ensemble, force_scale
from onfly.bayes.chain_task import ChainSettings, from_bytes
from onfly.bayes.force_scale import FeatureTarget, solve
from onfly.bayes.heads import base_force_std
from onfly.bayes.parallel import ChainPool, Progress, TargetFactory, run_chains
from onfly.bayes.posterior import Posterior, PosteriorState, UpdateInfo
from onfly.bayes.sghmc_posterior import chain_tasks, update_info
from onfly.potentials import Params
from onfly.potentials.execution import one_thread

__all__ = ["LastLayerPosterior"]


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
        s, the factor on the standard deviation; where it is fitted, its value before the first
        error is seen, and its smallest.
    scale_memory
        Number of newest labels to whose errors, before they were learned, s is fitted. 0 keeps
        `scale`.
    """

    n_steps: int = 200
    burn_in: float = 1.0
    optimizer: str = "adam"
    beta: float = 0.99
    eps: float = 1e-8
    learn_force_std: bool = False
    n_members: int = 1
    ridge: float = 1e-4
    force_rows: int = 8
    scale: float = 1.0
    scale_memory: int = 10

    kind: ClassVar[str] = "last_layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("n_members", 1), ("force_rows", 0), ("scale_memory", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)!r}")
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
        target: FeatureTarget = target_factory()  # type: ignore[assignment]
        with one_thread():
            scale = self._fit_scale(state, target, seed_key, n_new)
        results = run_chains(
            target_factory if pool is not None or n_workers > 1 else lambda: target,  # type: ignore[arg-type, return-value]
            tasks,
            n_workers=n_workers,
            pool=pool,
            on_progress=on_progress,
        )
        members = tuple(
            from_bytes(result.sample, member)
            for result, member in zip(results, state.members, strict=True)
        )
        with one_thread():
            parts = [self._factor(target, member, seed_key) for member in members]
        factor, noise = torch.stack([f for f, _ in parts]), [n for _, n in parts]
        if not self.learn_force_std:  # then σ_F is what the fit left, for all atoms
            base = target.scales.force_std_base
            members = tuple(
                base_force_std(member, n / base) for member, n in zip(members, noise, strict=True)
            )
        extra = {"factor": factor, "noise": torch.tensor(noise, dtype=torch.float64), **scale}
        return PosteriorState(self.kind, members, extra), update_info(results)

    def _fit_scale(
        self, state: PosteriorState, target: FeatureTarget, seed_key: tuple[str | int, ...], n: int
    ) -> Params:
        """Fit s to the newest labels, each judged by the posterior that had not seen it."""
        observed = state.extra.get("observed", torch.zeros(0, 3, dtype=torch.float64))
        if "noise" in state.extra and self.scale_memory:
            factor = state.extra["factor"]
            noise = float(state.extra["noise"].square().mean().sqrt())
            for index in range(target.n_data - min(n, self.scale_memory), target.n_data):
                found = force_scale.force_errors(
                    target, state.members, factor, noise, index, seed_key
                )
                observed = torch.cat([observed, found])
            observed = observed[-self.scale_memory * force_scale.N_DIRECTIONS :]
        scale = force_scale.fit(observed, self.scale)
        return {"observed": observed, "scale": torch.tensor([scale], dtype=torch.float64)}

    def _factor(
        self, target: FeatureTarget, params: Params, seed_key: tuple[str | int, ...]
    ) -> tuple[Tensor, float]:
        """Return the Cholesky factor of (RᵀR + ς I), shape (F, F), float64, and ε of the forces."""
        energy_rms, force_rms = target.residual_rms(params)
        rows = target.summed_features(params) / max(target.scales.energy_std, energy_rms)
        gram = rows.T @ rows
        noise = max(target.scales.force_std_base, force_rms)
        for i in range(target.n_data if self.force_rows else 0):
            directions = force_scale.directions(target, i, self.force_rows, seed_key)
            slopes = target.feature_slopes(params, i, directions)
            weight = 3.0 * target.n_atoms(i) / self.force_rows / noise**2
            gram += weight * slopes.T @ slopes
        size = len(gram)
        gram += self.ridge * gram.diagonal().mean() * torch.eye(size).to(gram)
        return torch.linalg.cholesky(gram), noise

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
        own = solve(state.extra["factor"], features).mean(0)
        scale = state.extra["scale"].to(own) if "scale" in state.extra else self.scale
        return mean, variance + scale**2 * own
