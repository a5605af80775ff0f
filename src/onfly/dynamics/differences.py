"""Energy differences between configurations, with the uncertainty of the difference itself.

The weights err in the same way for similar configurations, so that the difference is known better
than either energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from onfly.dynamics.predictor import Predictor

__all__ = ["energy_differences"]


def energy_differences(
    predictor: Predictor, configurations: Sequence[Atoms], reference: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return energies above a reference and their std, in eV, each of shape (M,).

    Parameters
    ----------
    predictor
        The ensemble.
    configurations
        With the same atoms.
    reference
        Index of the configuration that the others are compared with.

    Returns
    -------
    tuple of numpy.ndarray
        Mean and uncalibrated std over the posterior. The σ_E² of both energies is contained, but
        for the reference itself, whose difference is 0.
    """
    potential, found = predictor.potential, []
    for atoms in configurations:
        batch = potential.collate([potential.graph(atoms)])
        result = predictor.evaluator.evaluate(batch, forces=False, stress=False)
        found.append((result.energy.double(), result.features.sum(dim=1, keepdim=True).double()))
    energy, features = found[reference]
    means, deviations = [], []
    for k, (own, own_features) in enumerate(found):
        mean, variance = predictor.posterior.energy_moments(
            predictor.state, own - energy, own_features - features
        )
        noise = 0.0 if k == reference else 2.0 * predictor.scales.energy_std**2
        means.append(float(mean[0]))
        deviations.append(float(torch.sqrt(variance.clamp_min(0.0) + noise)[0]))
    return np.array(means), np.array(deviations)
