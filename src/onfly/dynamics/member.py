"""One member as the force field, with the ensemble as a monitor: the cost of a single model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from ase import Atoms

from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import Posterior, PosteriorState
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.potentials import Potential
from onfly.potentials.stacked import EnsembleEvaluator, Strategy

__all__ = ["MemberPredictor"]


class MemberPredictor(Predictor):
    """Energies, forces and stresses by one member; its uncertainty at every n-th step.

    The error of the member is that of the mean plus its distance from the mean, so the std is
    sqrt(σ² + (E_member - Ē)²), with σ that of the ensemble; those of forces and stress likewise.

    Parameters
    ----------
    potential, posterior, state, scales, strategy
        As of `Predictor`.
    member
        Index of the member.
    interval
        MD steps between evaluations of the whole ensemble; a prediction without a step is always
        complete.

    Raises
    ------
    ValueError
        If there is no such member, or the interval is not positive.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.bayes import posterior_from_dict
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> posterior = posterior_from_dict({"kind": "sghmc", "n_members": 2})
    >>> predictor = MemberPredictor(potential, posterior, posterior.initial(potential, ("my run",)),
    ...                             LikelihoodScales(energy_std=0.005), member=1, interval=10)
    >>> predictor.predict(bulk("Cu", cubic=True), step=11).watched
    False
    """

    can_screen = False  # its interval says when the uncertainty is computed

    def __init__(
        self,
        potential: Potential,
        posterior: Posterior,
        state: PosteriorState,
        scales: LikelihoodScales,
        strategy: Strategy = "auto",
        *,
        member: int = 0,
        interval: int = 1,
    ) -> None:
        super().__init__(potential, posterior, state, scales, strategy)
        if not 0 <= member < len(state.members):
            raise ValueError(
                f"there is no member {member}: the ensemble has {len(state.members)}, from 0"
            )
        if interval < 1:
            raise ValueError(f"the monitor's interval of {interval} steps is not positive")
        self._single = EnsembleEvaluator(potential, [self._weights[member]], strategy="sequential")
        self.member = member
        self.interval = interval

    def predict(
        self,
        atoms: Atoms,
        *,
        stress: bool = True,
        forces_std: bool | Callable[[StepPrediction], bool] = False,
        step: int | None = None,
    ) -> StepPrediction:
        """Predict by the member; see `Predictor.predict`."""
        self._graph = self.potential.updated_graph(self._graph, atoms)
        batch = self.potential.collate([self._graph])
        result = self._single.evaluate(batch, forces=True, stress=stress)
        assert result.forces is not None
        energy = float(result.energy[0, 0])
        watched = step is None or step % self.interval == 0
        forces = result.forces[0].double().detach().cpu().numpy()
        tension = None
        if result.stress is not None:
            tension = result.stress[0, 0].double().detach().cpu().numpy()
        std, sigma, tension_sigma = math.nan, None, None
        if watched:
            spread = bool(forces_std)
            ensemble = super().predict(atoms, stress=stress and spread, forces_std=spread)
            std = math.hypot(ensemble.energy_std, energy - ensemble.energy)
            if ensemble.forces_std is not None:
                sigma = np.hypot(ensemble.forces_std, forces - ensemble.forces)
            if ensemble.stress_std is not None and tension is not None:
                tension_sigma = np.hypot(ensemble.stress_std, tension - ensemble.stress)
        return StepPrediction(
            energy=energy,
            energy_std=std,
            forces=forces,
            forces_std=sigma,
            stress=tension,
            watched=watched,
            stress_std=tension_sigma,
        )
