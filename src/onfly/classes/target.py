"""The likelihood of labels of many compounds, whose cells differ in size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onfly.bayes.heads import without_head
from onfly.bayes.likelihood import LikelihoodScales
from onfly.classes.examples import Example
from onfly.learning.target import PotentialTarget
from onfly.potentials import Params, Potential

__all__ = ["ClassTarget", "class_target", "example_data"]


def example_data(potential: Potential, examples: Sequence[Example]) -> tuple[Any, Any, Any, Any]:
    """Return graphs, energies, forces and stresses of examples, as a target takes them."""
    # a molecule has no volume, and would make the stress of its minibatch NaN
    periodic = all(e.atoms.pbc.all() for e in examples)
    return (
        [potential.graph(e.atoms) for e in examples],
        [e.energy for e in examples],
        [e.forces for e in examples],
        [e.stress for e in examples] if periodic else None,
    )


class ClassTarget(PotentialTarget):
    """Examples of cells of any size, each with its own widths.

    σ_E of a cell of N atoms is σ_F sqrt(N/3), the balance of `LikelihoodScales.for_threshold`; all
    three widths are multiplied by the example's own factor. Constants of the density are left
    out: nothing is learned of the widths.
    """

    def __init__(self, potential: Potential, examples: Sequence[Example]) -> None:
        scales = LikelihoodScales.for_threshold(None, n_atoms=3)
        atoms = [e.atoms for e in examples]
        super().__init__(potential, *example_data(potential, examples), scales, atoms=atoms)
        options: dict[str, Any] = {"dtype": torch.float64, "device": potential.device}
        self._width = torch.tensor([e.width for e in examples], **options)
        sizes = torch.tensor([len(e.atoms) for e in examples], **options)
        self._energy_std = scales.force_std_base * torch.sqrt(sizes / 3.0) * self._width

    def fingerprint(self, n_labels: int | None = None) -> str:
        """Return a hash of what is learned, configurations included."""
        digest = hashlib.sha256(super().fingerprint(n_labels).encode())
        digest.update(self._width[:n_labels].cpu().numpy().tobytes())
        for atoms in (self.atoms or [])[:n_labels]:
            for array in (atoms.numbers, atoms.positions, atoms.cell.array):
                digest.update(array.tobytes())
        return digest.hexdigest()

    def log_likelihood(
        self, params: Params, indices: Sequence[int], potential: Potential | None = None
    ) -> Tensor:
        """Return the log-likelihood of some examples without constants, shape (B,)."""
        batch, labels = self.batch(indices)
        prediction = (potential or self.potential).evaluate(
            without_head(params),
            batch,
            forces=True,
            stress=labels.stress is not None,
            training=True,
        )
        assert prediction.forces is not None
        chosen = torch.as_tensor(list(indices), device=self.potential.device)
        width, energy_std = self._width[chosen], self._energy_std[chosen]
        result = ((prediction.energy - labels.energy) / energy_std).square()
        residual = (prediction.forces - labels.forces).square().sum(-1)
        force_z2 = residual.double() / (self.scales.force_std_base * width[batch.owner]) ** 2
        result = result.index_add(0, batch.owner, force_z2.to(result.dtype))
        if labels.stress is not None and labels.has_stress is not None:
            assert prediction.stress is not None
            difference = torch.where(
                labels.has_stress[:, None, None], prediction.stress - labels.stress, 0.0
            )
            result = (
                result
                + difference.square().sum((-2, -1)) / (self.scales.stress_std * width).square()
            )
        return -0.5 * result


def class_target(potential: Potential, examples: Sequence[Example]) -> ClassTarget:
    """Return the target of some examples.

    Raises
    ------
    ValueError
        If there are none, or one is not finite.
    """
    if any(not math.isfinite(e.width) or e.width <= 0 for e in examples):
        raise ValueError("the width of an example must be finite and positive")
    return ClassTarget(potential, examples)
