"""Predictions of the posterior for one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms

from onfly.bayes.ensemble import force_moments
from onfly.bayes.heads import head_log_scale
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import Posterior, PosteriorState
from onfly.potentials import Potential
from onfly.potentials.stacked import EnsembleEvaluator, Strategy

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
        Uncalibrated std of one force component per atom, shape (N,), eV/Å; None if not asked for.
    stress
        Mean over the posterior, shape (3, 3), eV/Å³, tension positive; None if not asked for.
    watched
        False if the uncertainty was not evaluated: `energy_std` is then NaN (see
        `onfly.dynamics.member`).
    """

    energy: float
    energy_std: float
    forces: np.ndarray
    forces_std: np.ndarray | None
    stress: np.ndarray | None
    watched: bool = True


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
    """

    def __init__(
        self,
        potential: Potential,
        posterior: Posterior,
        state: PosteriorState,
        scales: LikelihoodScales,
        strategy: Strategy = "auto",
    ) -> None:
        self.potential = potential
        self.posterior = posterior
        self.state = state
        self.scales = scales
        weights = [{k: v for k, v in m.items() if not k.startswith("head.")} for m in state.members]
        self._heads = [{k: v for k, v in m.items() if k.startswith("head.")} for m in state.members]
        self._graph: Any = None
        self.evaluator = EnsembleEvaluator(potential, weights, strategy=strategy)

    @property
    def strategy(self) -> str:
        """How the members are evaluated, once that is settled."""
        return self.evaluator.strategy

    def predict(
        self,
        atoms: Atoms,
        *,
        stress: bool = True,
        forces_std: bool = False,
        step: int | None = None,
    ) -> StepPrediction:
        """Predict energy, forces and, if asked for, stress and the std of the forces.

        `step` is the MD step, for predictors that do not evaluate the uncertainty at every one.
        """
        self._graph = self.potential.updated_graph(self._graph, atoms)
        batch = self.potential.collate([self._graph])
        # the spread of the forces is only needed for their std
        result = self.evaluator.evaluate(batch, forces=True, stress=stress, mean=not forces_std)
        assert result.forces is not None
        summed = result.features.sum(dim=1, keepdim=True)
        mean, variance = self.posterior.energy_moments(
            self.state, result.energy.double(), summed.double()
        )
        std = torch.sqrt(variance.clamp_min(0.0) + self.scales.energy_std**2)
        sigma = None
        if forces_std:
            log_scale = torch.stack(
                [
                    head_log_scale(head, features)
                    for head, features in zip(self._heads, result.features, strict=True)
                ]
            )
            member_std = self.scales.force_std_base * torch.exp(log_scale)
            _, sigma_tensor = force_moments(result.forces.double(), member_std.double())
            sigma = sigma_tensor.detach().cpu().numpy()
        # one transfer from the device at the end
        return StepPrediction(
            energy=float(mean[0]),
            energy_std=float(std[0]),
            forces=result.forces.double().mean(0).detach().cpu().numpy(),
            forces_std=sigma,
            stress=None
            if result.stress is None
            else result.stress[:, 0].double().mean(0).detach().cpu().numpy(),
        )
