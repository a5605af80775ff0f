"""The energy of a NequIP model as a function of the pair vectors.

The modules are those of the package; only their sequence up to the atomic energies is used. Given
pair vectors, they do not look at positions, so that forces and stress come from outside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NequIPEnergy"]


class NequIPEnergy(nn.Module):
    """Energies of atoms and invariant features.

    Parameters
    ----------
    model
        A `nequip.nn.GraphModel`, for instance out of a package.

    Raises
    ------
    ValueError
        If the model is not of the form that is understood.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        energy = getattr(model.model, "func", model.model)
        irreps = getattr(energy, "irreps_out", {})
        if "atomic_energy" not in irreps or "node_features" not in irreps:
            raise ValueError("this NequIP model gives no energies and features of single atoms")
        self._path = "model.func" if hasattr(model.model, "func") else "model"
        features = irreps["node_features"]
        self._scalars = [
            s for s, (_, ir) in zip(features.slices(), features, strict=True) if str(ir) == "0e"
        ]
        self.n_features = sum(s.stop - s.start for s in self._scalars)

    def forward(
        self, vectors: Tensor, species: Tensor, center: Tensor, neighbor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the modules.

        Parameters
        ----------
        vectors
            From centre to neighbour in Å, shape (E, 3).
        species
            Index of each atom's type, shape (N,).
        center, neighbor
            Atom indices, shape (E,).

        Returns
        -------
        tuple
            Energies in eV, shape (N,), and the scalar channels of the last layer, shape (N, F).
        """
        data = {
            # Only its first dimension is used, to count atoms.
            "pos": vectors.new_zeros(len(species), 3),
            "edge_vectors": vectors,
            "edge_lengths": vectors.square().sum(-1, keepdim=True).sqrt(),
            "edge_index": torch.stack([center, neighbor]),
            "atom_types": species,
        }
        out = self.model.get_submodule(self._path)(data)
        features = torch.cat([out["node_features"][:, s] for s in self._scalars], dim=-1)
        return out["atomic_energy"][:, 0], features
