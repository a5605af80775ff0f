"""Predictions of the posterior for one configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from onfly.bayes.heads import has_head, head_log_scale, without_head
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import MemberForces, Posterior, PosteriorState
from onfly.dynamics.near_labels import NearLabels
from onfly.learning.slopes import feature_slopes
from onfly.potentials import Batch, Potential
from onfly.potentials.stacked import EnsembleEvaluator, MemberPrediction, Strategy

__all__ = ["Predictor", "StepPrediction"]


@dataclass(frozen=True)
class StepPrediction:
    """Prediction for one configuration, on the foundation model's energy scale.

    Parameters
    ----------
    energy
        Mean over the posterior, eV.
    energy_std
        Uncalibrated std: spread of the posterior and σ_E (law of total variance), eV.
    forces
        Mean over the posterior, shape (N, 3), eV/Å.
    forces_std
        Uncalibrated std of each force component, shape (N, 3), eV/Å; None if not asked for.
    stress
        Mean over the posterior, shape (3, 3), eV/Å³, tension positive; None if not asked for.
    stress_std
        Uncalibrated std of each stress component, shape (3, 3), eV/Å³: spread of the posterior and
        σ_S; None unless stress and the std of the forces were asked for.
    bounded
        Whether `forces_std` and `stress_std` are only bounds that exclude a call (see
        `onfly.dynamics.screen`).
    watched
        False if the uncertainty was not evaluated: `energy_std` is then NaN (see
        `onfly.dynamics.member`).

    Examples
    --------
    >>> import numpy as np
    >>> said = StepPrediction(-1.0, energy_std=0.02, forces=np.zeros((4, 3)), forces_std=None,
    ...                       stress=None)
    >>> said.watched, said.bounded
    (True, False)
    """

    energy: float
    energy_std: float
    forces: np.ndarray
    forces_std: np.ndarray | None
    stress: np.ndarray | None
    watched: bool = True
    stress_std: np.ndarray | None = None
    bounded: bool = False


class Predictor:
    """Evaluate mean and std of the posterior for one configuration after another.

    Parameters
    ----------
    potential
        Foundation potential: it gives graph and evaluation, the members give the weights.
    posterior
        Knows how member energies and features become a mean and a variance.
    state
        Members and further tensors of the posterior.
    scales
        Aleatoric σ_E, and the base of σ_F.
    strategy
        How members are evaluated: ``"auto"``, ``"stacked"`` or ``"sequential"``. With ``"auto"``
        the faster one is measured; where results must be bitwise repeatable, choose one.
    near
        What labels say of energies close to them; None for nothing.

    Attributes
    ----------
    can_screen
        Whether `predict` takes a function for `forces_std`.

    Raises
    ------
    ValueError
        If there is no member, or the strategy is impossible; see `EnsembleEvaluator`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.bayes import posterior_from_dict
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> posterior = posterior_from_dict({"kind": "sghmc", "n_members": 2})
    >>> state = posterior.initial(potential, ("my run",))
    >>> predictor = Predictor(potential, posterior, state, LikelihoodScales(energy_std=0.005))
    >>> said = predictor.predict(bulk("Cu", cubic=True))
    >>> said.forces.shape, said.energy_std  # before the first label only σ_E
    ((4, 3), 0.005)
    """

    can_screen = True

    def __init__(
        self,
        potential: Potential,
        posterior: Posterior,
        state: PosteriorState,
        scales: LikelihoodScales,
        strategy: Strategy = "auto",
        near: NearLabels | None = None,
    ) -> None:
        self.potential = potential
        self.posterior = posterior
        self.state = state
        self.scales = scales
        self.near = near
        self._weights = [without_head(member) for member in state.members]
        self._slope_weights: Tensor | None = None
        self._graph: Any = None
        self.evaluator = EnsembleEvaluator(potential, self._weights, strategy=strategy)

    @property
    def strategy(self) -> str:
        """How the members are evaluated, once that is settled."""
        return self.evaluator.strategy

    def predict(
        self,
        atoms: Atoms,
        *,
        stress: bool = True,
        forces_std: bool | Callable[[StepPrediction], bool] = False,
        step: int | None = None,
    ) -> StepPrediction:
        """Predict energy, forces and, if asked for, stress and the std of forces and stress.

        The std of the forces needs those of every member, and with a Gaussian over the last layer a
        reverse pass for each draw: it is computed only where it is asked for. A function for
        `forces_std` is given the prediction without it, and says whether it is wanted.

        `step` is the MD step, for predictors that do not evaluate the uncertainty at every one.
        """
        self._graph = self.potential.updated_graph(self._graph, atoms)
        batch = self.potential.collate([self._graph])
        # the spread of the forces is only needed for their std
        mean_only = forces_std is not True and (len(self._weights) > 1 or not forces_std)
        result = self.evaluator.evaluate(batch, forces=True, stress=stress, mean=mean_only)
        assert result.forces is not None
        summed = result.features.sum(dim=1, keepdim=True)
        mean, variance = self.posterior.energy_moments(
            self.state, result.energy.double(), summed.double()
        )
        if self.near is not None:
            close = self.near.variance(atoms)
            variance = variance / (1.0 + variance / close) if close > 0 else 0.0 * variance
        std = torch.sqrt(variance.clamp_min(0.0) + self.scales.energy_std**2)
        sigma = tension_sigma = None
        if forces_std is True:
            sigma, tension_sigma = self._spread(atoms, batch, result)
        # one transfer from the device at the end
        found = StepPrediction(
            energy=float(mean[0]),
            energy_std=float(std[0]),
            forces=result.forces.double().mean(0).detach().cpu().numpy(),
            forces_std=sigma,
            stress=None
            if result.stress is None
            else result.stress[:, 0].double().mean(0).detach().cpu().numpy(),
            stress_std=tension_sigma,
        )
        if not callable(forces_std) or not forces_std(found):
            return found
        if mean_only:
            result = self.evaluator.evaluate(batch, forces=True, stress=stress)
        sigma, tension_sigma = self._spread(atoms, batch, result)
        return replace(found, forces_std=sigma, stress_std=tension_sigma)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and Gaussian, and of how the std is made of them."""
        digest = hashlib.sha256(repr((self.posterior, self.scales)).encode())
        for tensors in (*self.state.members, self.state.extra):
            for name, tensor in sorted(tensors.items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _spread(
        self, atoms: Atoms, batch: Batch, result: MemberPrediction
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the std of the force components, and of those of the stress if there is one."""
        members = self._member_forces(atoms, batch, result)
        sigma = _root(self.posterior.force_moments(self.state, members)[1])
        if members.stress is None:
            return sigma, None
        _, variance = self.posterior.stress_moments(self.state, members)
        return sigma, _root(variance + self.scales.stress_std**2)

    def _member_forces(self, atoms: Atoms, batch: Batch, result: MemberPrediction) -> MemberForces:
        """Return what the posterior's moments of forces and stress are made of."""
        assert result.forces is not None
        if self._slope_weights is None:
            self._slope_weights = self.posterior.slope_weights(self.state)
        stress = None if result.stress is None else result.stress[:, 0]
        force_slopes = stress_slopes = own_std = None
        if self._slope_weights is not None:
            found = [
                feature_slopes(
                    self.potential, weights, batch, w, stress=stress is not None, atoms=[atoms]
                )
                for weights, w in zip(self._weights, self._slope_weights, strict=True)
            ]
            force_slopes = torch.stack([force for force, _ in found])
            if stress is not None:
                stress_slopes = torch.stack([s[:, 0] for _, s in found if s is not None])
        if all(has_head(member) for member in self.state.members):
            logs = [
                head_log_scale(member, features)
                for member, features in zip(self.state.members, result.features, strict=True)
            ]
            own_std = self.scales.force_std_base * torch.exp(torch.stack(logs)).detach()
        return MemberForces(
            forces=result.forces,
            features=result.features,
            species=torch.as_tensor(atoms.numbers, dtype=torch.int64).to(result.features.device),
            stress=stress,
            own_std=own_std,
            force_slopes=force_slopes,
            stress_slopes=stress_slopes,
        )


def _root(variance: Tensor) -> np.ndarray:
    return variance.clamp_min(0.0).sqrt().detach().cpu().numpy()
