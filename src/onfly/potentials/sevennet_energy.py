"""The energy of a SevenNet model as a function of the pair vectors.

SevenNet (Park et al., JCTC 20, 4857 (2024)) is NequIP's architecture as a sequence of modules that
pass a dictionary on. The modules are the loaded model's own or those of `fast`; those before the
radial functions and after the atomic energies (positions, sums, forces) are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onfly.potentials.edges import EdgeBatch
from onfly.potentials.fast.e3nn_convolution import in_slots, neighbor_table

__all__ = ["SevenNetEnergy", "message_gather"]

READOUTS = ("reduce_input_to_hidden", "readout_FCN")
RESCALE = "rescale_atomic_energy"
EMBEDDING = "edge_embedding"


def message_gather(node_features: Tensor, edge_dst: Tensor, message: Tensor) -> Tensor:
    """Sum messages by atom, as SevenNet's function of this name, but out of place.

    Only so can `torch.func.vmap` map a model over stacked parameters.
    """
    zero = message.new_zeros(len(node_features), *message.shape[1:])
    return zero.index_add(0, edge_dst, message)


class SevenNetEnergy(nn.Module):
    """Energies of atoms, without those of the isolated atoms, and invariant features.

    Parameters
    ----------
    model
        A `sevenn.nn.sequential.AtomGraphSequential`.
    table
        Whether its convolutions take the neighbours as a table.

    Raises
    ------
    ValueError
        If the model was trained on several levels of theory, or is of an unknown form.
    """

    def __init__(self, model: Any, table: bool = False) -> None:
        super().__init__()
        if getattr(model, "modal_map", None):
            raise ValueError("SevenNet models of several levels of theory are not supported")
        names = list(model._modules)
        if RESCALE not in names or not set(READOUTS) & set(names):
            raise ValueError(f"this SevenNet model ends in an unknown way: {', '.join(names)}")
        if EMBEDDING not in names:
            raise ValueError(f"this SevenNet model has no {EMBEDDING}: {', '.join(names)}")
        self.model = model
        self.table = table
        self._names = names[: names.index(RESCALE)]
        self.n_features = self._readout().irreps_in.dim

    def _readout(self) -> Any:
        return next(self.model._modules[n] for n in self._names if n in READOUTS)

    def _per_species(self, what: str) -> Tensor:
        values = getattr(self.model._modules[RESCALE], what).detach()
        return values.expand(len(self.model.type_map))

    def reference(self) -> Tensor:
        """Return the energies of the isolated atoms in eV, one for each element."""
        return self._per_species("shift").double()

    def _embed(self, vectors: Tensor, data: EdgeBatch) -> dict[str, Any]:
        """Do what the module of this name does, with distances once for both ends of a pair."""
        module = self.model._modules[EMBEDDING]
        if not self.table:
            r = vectors.square().sum(-1).sqrt()
            return {
                "edge_index": torch.stack([data.center, data.neighbor]),
                "edge_embedding": module.basis_function(r)
                * module.cutoff_function(r).unsqueeze(-1),
                "edge_attr": module.spherical(vectors),
            }
        rows, neighbors = neighbor_table(data)
        r = vectors.index_select(0, rows).square().sum(-1).sqrt()
        assert data.slots is not None
        return {
            "edge_index": neighbors,
            "edge_embedding": module.basis_function(r) * module.cutoff_function(r).unsqueeze(-1),
            "edge_attr": in_slots(module.spherical(vectors), data.slots),
        }

    def forward(self, vectors: Tensor, batch: EdgeBatch) -> tuple[Tensor, Tensor]:
        """Evaluate the modules.

        Parameters
        ----------
        vectors
            From centre to neighbour in Å, shape (E, 3).
        batch
            Joined graphs, with table and undirected pairs if the model takes them; elements in
            the model's own order.

        Returns
        -------
        tuple
            Energies in eV, shape (N,), and the features that enter the readout, shape (N, F).
        """
        species = batch.species
        data: dict[str, Any] = {}
        features = vectors
        for name in self._names:
            module = self.model._modules[name]
            if name == EMBEDDING:
                data |= self._embed(vectors, batch)
                continue
            if name == "onehot_idx_to_onehot":  # its own result is always of single precision
                # Not `one_hot`, which looks at the values on the host.
                kinds = torch.arange(module.num_classes, device=vectors.device)
                onehot = (species[:, None] == kinds).to(vectors.dtype)
                data[module.key_output] = onehot
                if module.key_additional_output is not None:
                    data[module.key_additional_output] = onehot
                continue
            if name in READOUTS:
                features = data[module.key_input]
            data = module(data)
        scaled = data[self.model._modules[RESCALE].key_input][:, 0]
        return scaled * self._per_species("scale")[species], features
