"""A cheap posterior: one fitted model, and a Gaussian over its last layer in closed form.

The chain runs without noise, so that it ends near the maximum of the posterior. Around it the total
energy is taken as linear in the invariant node features, summed over the atoms, f: with the rows of
all labels (energies, force and stress components, each over its noise) in R, the variance of the
energy of a new configuration is s² fᵀ (RᵀR + ς I)⁻¹ f. That of a force component has the slope of
f along it in place of f, and that of a stress the derivative by strain; both are estimated by draws
of the last layer, each of which costs one reverse pass, and what the fit left of the forces of a
species is added.

Two things keep it honest, because the model is not linear and a short chain does not fit to the
noise of DFT: the noise is never taken smaller than the residuals of the labels that were learned,
and the s of forces and stresses grows with the errors of labels before they are learned
(`onfly.bayes.force_scale`). That of energies is fixed and left to the calibration: an s that grows
with force errors raises the energies' std just where they were learned, and what the calibration
has seen under another s is then of no use (docs/posteriors.md).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from onfly.bayes import ensemble, force_scale
from onfly.bayes.chain_task import ChainSettings, from_bytes, threads_of
from onfly.bayes.force_scale import solve
from onfly.bayes.heads import with_heads, without_head
from onfly.bayes.last_layer_rows import FeatureTarget, RowNoise, gram
from onfly.bayes.parallel import ChainPool, TargetFactory, run_chains
from onfly.bayes.posterior import MemberForces, Posterior, PosteriorState, UpdateInfo
from onfly.bayes.row_sums import RowSums
from onfly.bayes.sghmc_posterior import chain_tasks, update_info
from onfly.potentials import Params, Potential
from onfly.potentials.execution import one_thread
from onfly.seeds import torch_stream

__all__ = ["LastLayerPosterior"]


@dataclass(frozen=True)
class LastLayerPosterior(ChainSettings, Posterior):
    """Noise-free chains with a Gaussian over the last layer.

    The settings of the chain are those of `ChainSettings`, with other defaults.

    Parameters
    ----------
    n_steps, batch_size, step_size, prior_std, head_std, friction, beta, eps, burn_in, ramp, \
    stability, min_steps, tolerance, optimizer, learn_force_std, steps_per_new, warm_up, \
    batch_atoms
        Of the chain, as in `ChainSettings`.
    update_steps
        Steps of an update that goes on from an earlier one, where they are fewer than `n_steps`;
        `steps_per_new` counts as ever. None takes `n_steps`.
    n_members
        Number of chains; the variance over them is added to the Gaussian's.
    ridge
        ς relative to the mean diagonal element of RᵀR.
    force_rows
        None takes all force and stress components of the labels. A number takes as many random
        directions per label, with the weight of all 3 n_atoms components, and no stress; 0 takes
        energies only.
    keep_rows
        Go on from the rows of the update before (see `onfly.bayes.row_sums`); False makes all rows
        anew in every update. Without effect on random directions.
    force_draws
        Last layers drawn for the std of forces and stresses, F at most, where it is exact.
    scale
        s, the factor on the standard deviation: of energies always, and of forces and stresses
        before the first error is seen; their smallest.
    scale_memory
        Number of newest labels to whose force errors, before they were learned, the s of forces and
        stresses is fitted. 0 keeps `scale`.
    near_labels
        Narrow the std of energies close to labels (see `onfly.dynamics.near_labels`), with the
        force errors of the `scale_memory` newest labels.

    Raises
    ------
    ValueError
        If a setting is impossible.

    References
    ----------
    The page "Theory" of the documentation; a Gaussian over the last layer by F. Bigi, S. Chong,
    M. Ceriotti, F. Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024).

    Examples
    --------
    >>> posterior = LastLayerPosterior(n_steps=400)
    >>> posterior.kind, posterior.n_members, posterior.force_draws
    ('last_layer', 1, 8)
    """

    n_steps: int = 200
    burn_in: float = 1.0
    optimizer: str = "adam"
    beta: float = 0.99
    eps: float = 1e-8
    learn_force_std: bool = False
    steps_per_new: int = 30
    warm_up: float = 0.1
    batch_atoms: int | None = 150
    update_steps: int | None = None
    n_members: int = 1
    ridge: float = 1e-4
    force_rows: int | None = None
    keep_rows: bool = True
    force_draws: int = 8
    scale: float = 2.0
    scale_memory: int = 10
    near_labels: bool = True

    kind: ClassVar[str] = "last_layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {
            "update_steps": 1,
            "n_members": 1,
            "force_rows": 0,
            "force_draws": 1,
            "scale_memory": 0,
        }
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value!r}")
        for name in ("ridge", "scale"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0.0:
                raise ValueError(f"{name} must be finite and positive, got {value!r}")

    def initial(self, potential: Potential, seed_key: tuple[str | int, ...]) -> PosteriorState:
        """Return pretrained weights, with heads only if `learn_force_std`."""
        members = super().initial(potential, seed_key).members
        if self.learn_force_std:
            members = with_heads(members, potential, seed_key)
        return PosteriorState(self.kind, members)

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
    ) -> tuple[PosteriorState, UpdateInfo]:
        """Run the chains and build the Gaussian; see `Posterior.update`."""
        if len(state.members) != self.n_members:
            raise ValueError(
                f"the state has {len(state.members)} members, the settings ask for {self.n_members}"
            )
        if not self.learn_force_std:  # states of older versions have heads all the same
            members = tuple(without_head(member) for member in state.members)
            state = PosteriorState(state.kind, members, state.extra)
        settings = self
        if "factor" in state.extra and self.update_steps is not None:
            settings = replace(self, n_steps=min(self.n_steps, self.update_steps))
        tasks = chain_tasks(
            settings, state, seed_key, generation=generation, n_new=n_new, cache_dir=cache_dir
        )
        start = time.process_time()
        target: Any = target_factory()  # a FeatureTarget
        with one_thread():
            scale = self._fit_scale(state, target, seed_key, n_new)
        own = time.process_time() - start
        results = run_chains(
            target_factory if pool is not None or n_workers > 1 else lambda: target,
            tasks,
            n_workers=n_workers,
            pool=pool,
        )
        members = tuple(
            from_bytes(result.sample, member)
            for result, member in zip(results, state.members, strict=True)
        )
        n_cores = n_workers if pool is None else pool.n_workers
        start = time.process_time()
        with one_thread(), threads_of(target, n_cores):
            sums = None
            if self.force_rows is None:
                before = RowSums.read(state.extra) if self.keep_rows else None
                sums = RowSums.updated(before, target, members)
            parts = [
                self._factor(target, member, seed_key, sums, number)
                for number, member in enumerate(members)
            ]
        extra = {
            "factor": torch.stack([factor for factor, _, _ in parts]),
            "noise": torch.tensor([noise.force for _, noise, _ in parts], dtype=torch.float64),
            "species": parts[0][1].species,
            "species_noise": torch.stack([noise.species_force for _, noise, _ in parts]),
            "left": torch.stack([left for _, _, left in parts]).mean(0),
            **scale,
            **({} if sums is None else sums.tensors()),
        }
        if "factor" not in state.extra or "energy_scale" in state.extra:
            extra["energy_scale"] = torch.tensor([self.scale], dtype=torch.float64)
        own += time.process_time() - start
        info = update_info(results, n_cores)
        info = replace(info, cpu_seconds=info.cpu_seconds + own)
        return PosteriorState(self.kind, members, extra), info

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
        self,
        target: FeatureTarget,
        params: Params,
        seed_key: tuple[str | int, ...],
        sums: RowSums | None = None,
        member: int = 0,
    ) -> tuple[Tensor, RowNoise, Tensor]:
        """Return the Cholesky factor of (RᵀR + ς I), shape (F, F), float64, the noise of the rows.

        The third are the errors of the labels' energies, shape (N,).
        """
        errors = target.errors(params)
        noise = RowNoise.of(errors, target.scales)
        if sums is not None:
            total = sums.gram(member, target.summed_features(params), noise)
        else:
            n_rows = self.force_rows or 0
            total = gram(target, params, noise, force_rows=n_rows, seed_key=seed_key)
        total += self.ridge * total.diagonal().mean() * torch.eye(len(total)).to(total)
        return torch.linalg.cholesky(total), noise, errors.energy.detach().double().cpu()

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
        # states of version 0.2.0 have one scale for energies and forces, and so has what follows
        # from them, because the calibration of their run knows errors in units of that scale
        scale = state.extra.get("energy_scale", self._scale(state, own)).to(own)
        return mean, variance + scale**2 * own

    def _scale(self, state: PosteriorState, like: Tensor) -> Tensor:
        return state.extra.get("scale", torch.tensor([self.scale])).to(like)

    def label_errors(self, state: PosteriorState) -> tuple[np.ndarray, float] | None:
        """Return what the fit left of the energies, and the RMS force error; see `Posterior`."""
        observed = state.extra.get("observed")
        if not self.near_labels or "left" not in state.extra or observed is None:
            return None
        if not len(observed):  # no label has been predicted before it was learned
            return None
        force_error = float(observed[:, 0].mean().sqrt())
        return state.extra["left"].double().cpu().numpy(), force_error

    def slope_weights(self, state: PosteriorState) -> Tensor | None:
        """Return draws of the last layer's deviation; None before the first update.

        With L Lᵀ = RᵀR + ς I and Q of S random orthonormal rows, w = sqrt(F/S) Q L⁻¹ gives
        Σ_w (wᵀu)² an expected value of uᵀ (L Lᵀ)⁻¹ u, which it is exactly for S = F. The draws are
        the same for all configurations.
        """
        if "factor" not in state.extra:
            return None
        factor = state.extra["factor"]
        size = factor.shape[-1]
        count = min(self.force_draws, size)
        normal = torch.randn(
            size, count, generator=torch_stream("last layer", "draws"), dtype=torch.float64
        )
        rows = torch.linalg.qr(normal)[0].T.to(factor) * math.sqrt(size / count)
        return torch.linalg.solve_triangular(factor, rows, upper=False, left=False)

    def last_layer_draws(
        self, state: PosteriorState, count: int, seed_key: tuple[str | int, ...]
    ) -> Tensor | None:
        """Return w ~ N(0, s² (L Lᵀ)⁻¹) for each member; None before the first update."""
        if "factor" not in state.extra:
            return None
        factor = state.extra["factor"].double().cpu()
        n_members, size, _ = factor.shape
        normal = torch.randn(
            n_members, size, count, generator=torch_stream(*seed_key), dtype=torch.float64
        )
        found = torch.linalg.solve_triangular(factor.mT, normal, upper=True)
        return self._scale(state, found) * found.mT

    def force_moments(self, state: PosteriorState, members: MemberForces) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the force components; see `Posterior.force_moments`.

        The variance is that over the members, that of the Gaussian, and what the fit left of the
        forces of the species (or the heads' σ_F², where they are learned).
        """
        mean, variance = ensemble.force_moments(members.forces, members.own_std)
        if members.own_std is None and "species" in state.extra:
            variance = variance + self._left(state, members.species)[:, None]
        return mean, variance + self._of_draws(state, members.force_slopes, variance)

    def stress_moments(self, state: PosteriorState, members: MemberForces) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the stress components; see `Posterior.stress_moments`."""
        mean, variance = super().stress_moments(state, members)
        return mean, variance + self._of_draws(state, members.stress_slopes, variance)

    def _left(self, state: PosteriorState, species: Tensor) -> Tensor:
        """Return the mean square of what the fit left of each atom's forces, shape (N,)."""
        kinds = state.extra["species"].to(species.device)
        noise = state.extra["species_noise"].to(species.device).square().mean(0)
        unknown = state.extra["noise"].to(species.device).square().mean()
        matches = species[:, None] == kinds
        return torch.where(matches.any(1), (matches * noise).sum(1), unknown)

    def _of_draws(self, state: PosteriorState, slopes: Tensor | None, like: Tensor) -> Tensor:
        if slopes is None:
            return torch.zeros_like(like)
        own = slopes.double().square().sum(1).mean(0)
        return self._scale(state, own) ** 2 * own
