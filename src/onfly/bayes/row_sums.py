"""Sums over the rows of many labels that go on from update to update.

The rows of a label cost a reverse pass for each feature, as much as some twenty MD steps, and are
made at weights that the next update changes only a little. Sums of their products are therefore
kept. An update adds the rows of its new labels, and makes those of all labels anew when their
number has doubled since that was done last: all updates of a run together make the rows of a label
about three times, and not once for each update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onfly.bayes.last_layer_rows import FeatureTarget, RowNoise
from onfly.potentials import Params

__all__ = ["RowSums"]

# atoms whose rows are computed together
CHUNK_ATOMS = 96
# the number of labels over that of the last full pass at which all rows are made anew
GROWTH = 2


@dataclass(frozen=True)
class RowSums:
    """Σ rᵀr over the rows of forces and stresses, of each member.

    Parameters
    ----------
    forces, stress
        Shape (M, F, F), float64; in the units of the rows, not divided by any noise.
    n_labels
        Labels whose rows are in them.
    n_fresh
        Labels there were when all rows were made with one set of weights.
    digest
        Fingerprint of the labels.
    """

    forces: Tensor
    stress: Tensor
    n_labels: int
    n_fresh: int
    digest: str

    @classmethod
    def read(cls, extra: Params) -> RowSums | None:
        """Return what `tensors` wrote; None if there is nothing."""
        if "row_forces" not in extra:
            return None
        n_labels, n_fresh = extra["row_counts"].tolist()
        digest = bytes(extra["row_digest"].tolist()).hex()
        return cls(extra["row_forces"], extra["row_stress"], n_labels, n_fresh, digest)

    def tensors(self) -> Params:
        """Return it as tensors of a posterior's state."""
        return {
            "row_forces": self.forces,
            "row_stress": self.stress,
            "row_counts": torch.tensor([self.n_labels, self.n_fresh]),
            "row_digest": torch.tensor(list(bytes.fromhex(self.digest)), dtype=torch.uint8),
        }

    @classmethod
    def updated(
        cls, before: RowSums | None, target: FeatureTarget, members: Sequence[Params]
    ) -> RowSums:
        """Return the sums over all labels of a target.

        Parameters
        ----------
        before
            Of an earlier update; not used if its labels are not the first ones of the target, or if
            the target has twice the labels of the last full pass.
        target
            Labels.
        members
            Weights at which the rows of new labels are made.
        """
        if before is not None and not before._serves(target, len(members)):
            before = None
        n, begin = target.n_data, 0 if before is None else before.n_labels
        if before is not None and begin == n:
            return before
        parts = [_sums(target, member, range(begin, n)) for member in members]
        forces, stress = (torch.stack(list(kind)) for kind in zip(*parts, strict=True))
        digest = target.fingerprint()
        if before is None:
            return cls(forces, stress, n, n, digest)
        forces, stress = forces + before.forces.to(forces), stress + before.stress.to(stress)
        return cls(forces, stress, n, before.n_fresh, digest)

    def _serves(self, target: FeatureTarget, n_members: int) -> bool:
        """Whether an update of a target may go on from these sums."""
        return (
            self.n_labels <= target.n_data < GROWTH * self.n_fresh
            and len(self.forces) == n_members
            and self.digest == target.fingerprint(self.n_labels)
        )

    def gram(self, member: int, features: Tensor, noise: RowNoise) -> Tensor:
        """Return RᵀR of a member, shape (F, F), float64.

        Parameters
        ----------
        member
            Its number.
        features
            Summed features of all labels by its present weights, shape (N, F).
        noise
            Of the rows.
        """
        energies = features / noise.energy
        total = energies.T @ energies
        total = total + self.forces[member].to(total) / noise.force**2
        return total + self.stress[member].to(total) / noise.stress**2


def _sums(target: FeatureTarget, params: Params, labels: range) -> tuple[Tensor, Tensor]:
    forces, stresses = [], []
    for force, stress in target.map_rows(params, list(_chunks(target, labels))):
        forces.append(force.T @ force)
        stresses.append(stress.T @ stress)
    return torch.stack(forces).sum(0), torch.stack(stresses).sum(0)


def _chunks(target: FeatureTarget, labels: range) -> Iterator[list[int]]:
    """Give labels in portions whose rows are made together."""
    chunk: list[int] = []
    for index in labels:
        n_atoms = sum(target.n_atoms(i) for i in chunk) + target.n_atoms(index)
        if chunk and n_atoms > CHUNK_ATOMS:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk
