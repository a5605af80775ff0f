"""The energy of an EquiformerV2 model as a function of the pair vectors.

EquiformerV2 (Liao et al., ICLR 2024) turns the features of each pair into a frame whose y axis is
the pair. Frames and neighbours come from here; all modules with parameters are the package's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onfly.potentials.equiformer_pairs import pair_frames, wigner_matrices

__all__ = ["EquiformerEnergy"]


class EquiformerEnergy(nn.Module):
    """Energies of atoms, without those added for each element, and invariant features.

    Parameters
    ----------
    backbone
        A `fairchem.core.models.equiformer_v2.equiformer_v2.EquiformerV2Backbone`.
    head
        Its `EqV2ScalarHead` for the energy.
    scale
        Standard deviation by which energies were divided in training, in eV.
    reference
        Energies added for each atomic number in eV, shape (Z,).
    """

    def __init__(self, backbone: Any, head: Any, scale: float, reference: Tensor) -> None:
        super().__init__()
        from e3nn import o3
        from fairchem.core.models.equiformer_v2.so3 import SO3_Embedding

        self.backbone, self.energy_head = backbone, head
        self.scale, self.reference = scale / head.avg_num_nodes, reference
        self.n_features = backbone.sphere_channels
        self._embedding = SO3_Embedding
        self._degrees = range(2, backbone.lmax_list[0] + 1)
        for degree in self._degrees:
            symbol = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
            self.register_buffer(f"coupling_{degree}", symbol, persistent=False)

    def forward(
        self, vectors: Tensor, numbers: Tensor, center: Tensor, neighbor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the modules.

        Parameters
        ----------
        vectors
            From centre to neighbour in Å, shape (E, 3).
        numbers
            Atomic numbers, shape (N,).
        center, neighbor
            Atom indices, shape (E,).

        Returns
        -------
        tuple
            Energies in eV, shape (N,), and the scalar channels of the last layer, shape (N, F).
        """
        if not len(center):
            return self._without_pairs(vectors, numbers)
        model = self.backbone
        couplings = [self.get_buffer(f"coupling_{degree}") for degree in self._degrees]
        wigner = wigner_matrices(pair_frames(vectors).to(vectors.dtype), couplings)
        turn = model.SO3_rotation[0]  # shared by all layers
        turn.wigner, turn.wigner_inv = wigner, wigner.transpose(1, 2)
        edge_index = torch.stack([neighbor, center])
        radial = model.distance_expansion(vectors.square().sum(-1).sqrt())
        if model.share_atom_edge_embedding:
            ends = (
                model.source_embedding(numbers[neighbor]),
                model.target_embedding(numbers[center]),
            )
            radial = torch.cat((radial, *ends), dim=1)
        x = self._embedding(
            len(numbers), model.lmax_list, self.n_features, vectors.device, vectors.dtype
        )
        degree_sum = model.edge_degree_embedding(numbers, radial, edge_index, len(numbers), 0)
        scalars = degree_sum.embedding[:, :1] + model.sphere_embedding(numbers)[:, None]
        x.set_embedding(torch.cat((scalars, degree_sum.embedding[:, 1:]), dim=1))
        owner = torch.zeros_like(numbers)  # asked for, but nothing is dropped outside training
        for block in model.blocks:
            x = block(x, numbers, radial, edge_index, owner, 0)
        x.set_embedding(model.norm(x.embedding))
        features = x.embedding[:, 0]
        site = self.energy_head.energy_block(x).embedding[:, 0, 0]
        turn.wigner = turn.wigner_inv = None  # do not keep the graph alive
        return site * self.scale, features

    def _without_pairs(self, vectors: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate isolated atoms beside a distant pair, for the package needs one."""
        n_atoms = len(numbers)
        ends = torch.tensor([[n_atoms], [n_atoms + 1]]).to(numbers)
        pair = vectors.sum() + vectors.new_ones(1, 3)  # the sum of nothing, for its gradient
        site, features = self(pair, torch.cat((numbers, numbers.new_ones(2))), *ends)
        return site[:n_atoms], features[:n_atoms]

    def unreached(self) -> tuple[str, ...]:
        """Return the parameters on which the energy of no configuration depends."""
        generator = torch.Generator().manual_seed(0)

        def draw(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator).to(like)

        named = {name: (0.3 * draw(p)).requires_grad_() for name, p in self.named_parameters()}
        points = draw(next(iter(named.values())).new_empty(4, 3))
        center, neighbor = (~torch.eye(4, dtype=torch.bool)).nonzero().T.to(points.device)
        inputs = (points[neighbor] - points[center], torch.ones_like(center[:4]), center, neighbor)
        with torch.enable_grad():
            site, _ = torch.func.functional_call(self, named, inputs)
            gradients = torch.autograd.grad(site.sum(), list(named.values()), allow_unused=True)
        pairs = zip(named, gradients, strict=True)
        return tuple(name for name, g in pairs if g is None or not g.any())
