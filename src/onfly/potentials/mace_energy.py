"""The energy of a MACE model as a function of the pair vectors.

The sequence of blocks is that of `ScaleShiftMACE` and `MACE` (Batatia et al., arXiv:2206.07697);
the blocks are the loaded model's own. Their forward functions compute forces inside, from
positions, which excludes stacked parameters and derivatives by pair vectors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onfly.potentials.edges import EdgeBatch
from onfly.potentials.fast.e3nn_convolution import in_slots, neighbor_table

__all__ = ["MACEEnergy"]

UNDIRECTED = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")


def _head(model: Any, wanted: str | None) -> int:
    heads = [str(head) for head in getattr(model, "heads", None) or ["default"]]
    lower = [head.lower() for head in heads]
    if wanted is not None:
        if wanted not in heads:
            raise ValueError(f"the model has no head {wanted!r}: it has {', '.join(heads)}")
        return heads.index(wanted)
    if len(heads) > 1 and "default" not in lower:
        raise ValueError(
            f"the model has no default head, but {', '.join(heads)}: name one by options: "
            f"{{head: {heads[0]}}}"
        )
    return lower.index("default") if "default" in lower else 0


class MACEEnergy(nn.Module):
    """Energies of atoms, without those of the isolated atoms, and invariant features.

    Parameters
    ----------
    model
        A `MACE` or `ScaleShiftMACE` module.
    head
        Which head of a model with several of them; None takes the one called "default".
    table
        Whether the model's convolutions take the neighbours as a table.

    Raises
    ------
    ValueError
        If the model has no such head.
    """

    def __init__(self, model: Any, head: str | None = None, table: bool = False) -> None:
        super().__init__()
        self.model = model
        self.head = _head(model, head)
        self.table = table
        self._scalars = [
            [s for s, (_, ir) in zip(i.slices(), i, strict=True) if str(ir) == "0e"]
            for i in (product.linear.irreps_out for product in model.products)
        ]
        self.n_features = sum(s.stop - s.start for slices in self._scalars for s in slices)
        # Rows of the radial functions for undirected pairs, where a block needs nothing else.
        self.undirected = not hasattr(model, "pair_repulsion") and all(
            type(block).__name__ in UNDIRECTED for block in model.interactions
        )

    def reference(self) -> Tensor:
        """Return the energies of the isolated atoms in eV, one for each element."""
        energies = torch.atleast_2d(self.model.atomic_energies_fn.atomic_energies.double())
        return energies[self.head if len(energies) > 1 else 0]

    def unreached(self) -> tuple[str, ...]:
        """Return the parameters that no gradient reaches: their coupling coefficients vanish."""
        names = []
        for p, product in enumerate(self.model.products):
            for c, contraction in enumerate(product.symmetric_contractions.contractions):
                prefix = f"products.{p}.symmetric_contractions.contractions.{c}"
                order = contraction.correlation
                for power in range(1, order + 1):
                    if not contraction.U_tensors(power).any():
                        own = "weights_max" if power == order else f"weights.{order - 1 - power}"
                        names.append(f"{prefix}.{own}")
        return tuple(names)

    def forward(self, vectors: Tensor, data: EdgeBatch) -> tuple[Tensor, Tensor]:
        """Evaluate the blocks.

        Parameters
        ----------
        vectors
            From centre to neighbour in Å, shape (E, 3).
        data
            Joined graphs, with table and undirected pairs if the model takes them.

        Returns
        -------
        tuple
            Energies in eV, shape (N,), and features, shape (N, F): the scalar channels of each
            interaction (the paper: the first and last 128 of MACE-MP-0 medium's 640).
        """
        model, slots = self.model, data.slots
        edge_index: Any
        radial_vectors = vectors
        edge_attrs = model.spherical_harmonics(-vectors)  # from the sender, the neighbour
        if self.table:
            assert slots is not None
            rows, edge_index = neighbor_table(data, undirected=self.undirected)
            radial_vectors = vectors.index_select(0, rows)
            edge_attrs = in_slots(edge_attrs, slots)
        else:
            edge_index = torch.stack([data.neighbor, data.center])
        # Not `one_hot`, which looks at the values on the host.
        kinds = torch.arange(len(model.atomic_numbers), device=vectors.device)
        onehot = (data.species[:, None] == kinds).to(vectors.dtype)
        lengths = radial_vectors.square().sum(-1, keepdim=True).sqrt()
        node_feats = model.node_embedding(onehot)
        edge_feats = model.radial_embedding(lengths, onehot, edge_index, model.atomic_numbers)
        edge_feats, cutoff = edge_feats if isinstance(edge_feats, tuple) else (edge_feats, None)
        heads = torch.full_like(onehot[:, 0], self.head, dtype=torch.int64)
        energies = []
        if hasattr(model, "pair_repulsion"):
            pair = model.pair_repulsion_fn(lengths, onehot, edge_index, model.atomic_numbers)
            energies.append(pair)
        states, features = [], []
        for i, (interaction, product) in enumerate(
            zip(model.interactions, model.products, strict=True)
        ):
            message, skip = interaction(
                node_attrs=onehot,
                node_feats=node_feats,
                edge_attrs=edge_attrs,
                edge_feats=edge_feats,
                edge_index=edge_index,
                cutoff=cutoff,
                first_layer=(i == 0),
            )
            node_feats = product(node_feats=message, sc=skip, node_attrs=onehot)
            states.append(node_feats)
            features += [node_feats[:, s] for s in self._scalars[i]]
        for i, readout in enumerate(model.readouts):
            state = states[-1 if len(model.readouts) == 1 else i]
            energies.append(readout(state, heads)[:, self.head])
        site = torch.stack(energies).sum(0)
        if hasattr(model, "scale_shift"):
            site = model.scale_shift(site, heads)
        return site, torch.cat(features, dim=-1)
