"""Convolutions of e3nn as small matrix products, one for each atom, instead of rows for each pair.

The message to atom i, in MACE (Batatia et al., arXiv:2206.07697, equation 8) as in NequIP (Batzner
et al., arXiv:2101.03164), is
Σ_j R_p(r_ij) Σ_ab C_p,abk x_j,a Y_b(r_ij) for every path p. e3nn evaluates it pair by pair and
channel by channel, writes the result for all pairs and adds it up. Here the sum over the neighbours
is the inner dimension of one matrix product, with the neighbours of each atom in a table of equal
rows, and the coupling coefficients C act on the sum, of which there are as many as atoms. Distances
are those of undirected pairs, so that the radial functions are evaluated once for both ends.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from onfly.potentials.edges import EdgeBatch
from onfly.potentials.fast.rows import select_rows
from onfly.potentials.precision import default_dtype

__all__ = ["Convolution", "Neighbors", "Radial", "in_slots", "neighbor_table"]


class Neighbors(NamedTuple):
    """What takes the place of an ``edge_index``.

    Parameters
    ----------
    sender, receiver
        Atom indices for each row of the radial functions, shape (R,).
    atom
        Sender of each slot, shape (N, D); any atom where the slot is empty.
    row
        Row of the radial functions of each slot, shape (N, D).
    """

    sender: Tensor
    receiver: Tensor
    atom: Tensor
    row: Tensor


def neighbor_table(data: EdgeBatch, *, undirected: bool = True) -> tuple[Tensor, Neighbors]:
    """Return the pair that stands for each row of the radial functions, shape (R,), and the table.

    Parameters
    ----------
    data
        Joined graphs with their slots, and the undirected pairs where they are asked for.
    undirected
        One row for the two directions of a pair, instead of a row for each.
    """
    center, neighbor, slots = data.center, data.neighbor, data.slots
    assert slots is not None
    if undirected:
        pair, row = data.index["pair"], data.index["bond"]
    else:
        pair = row = torch.arange(len(center), device=center.device)
    zero = center.new_zeros(1)  # in slots that are empty
    return pair, Neighbors(
        sender=neighbor.index_select(0, pair),
        receiver=center.index_select(0, pair),
        atom=torch.cat([neighbor, zero])[slots],
        row=torch.cat([row, zero])[slots],
    )


def in_slots(values: Tensor, slots: Tensor) -> Tensor:
    """Lay out values of pairs, shape (E, C), by slot, shape (N, D, C); zeros where it is empty."""
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    return padded.index_select(0, slots.flatten()).unflatten(0, slots.shape)


class Convolution(nn.Module):
    """What an `e3nn.o3.TensorProduct` with mode ``uvu`` and the sum over neighbours compute.

    Parameters
    ----------
    product
        The model's own product of node features and spherical harmonics.

    Attributes
    ----------
    columns, scale
        Order in which `forward` takes the radial weights, and factors on them, shape (W,).

    Raises
    ------
    ValueError
        If the product has another form.
    """

    columns: Tensor
    scale: Tensor
    order: Tensor

    def __init__(self, product: Any) -> None:
        super().__init__()
        from e3nn import o3

        columns, scale, order = [], [], torch.empty(product.irreps_out.dim, dtype=torch.int64)
        begin = [0]
        for ins in product.instructions:
            if ins.connection_mode != "uvu" or not ins.has_weight or ins.path_shape[1] != 1:
                raise ValueError("a convolution of an unknown form")
            begin.append(begin[-1] + ins.path_shape[0])
        width = product.irreps_in2.dim
        second, third = product.irreps_in2.slices(), product.irreps_out.slices()
        self._groups: list[tuple[int, int, int]] = []
        offset = 0
        for number, (mul, ir) in enumerate(product.irreps_in1):
            paths = [
                (start, ins)
                for start, ins in zip(begin, product.instructions, strict=False)
                if ins.i_in1 == number
            ]
            size = max((product.irreps_out[ins.i_out].ir.dim for _, ins in paths), default=0)
            coupling = torch.zeros(len(paths), width, ir.dim, size, dtype=torch.float64)
            for p, (start, ins) in enumerate(paths):
                out, into = product.irreps_out[ins.i_out].ir, second[ins.i_in2]
                columns.append(torch.arange(start, start + mul))
                # A scalar only copies the harmonics, which needs no matrix of coefficients.
                factor = math.sqrt(out.dim) if ir.l == 0 else 1.0
                scale.append(torch.full((mul,), ins.path_weight / factor, dtype=torch.float64))
                with default_dtype(torch.float64):
                    w3j = o3.wigner_3j(ir.l, product.irreps_in2[ins.i_in2].ir.l, out.l)
                coupling[p, into, :, : out.dim] = w3j.transpose(0, 1)
                channel, component = p * mul + torch.arange(mul)[:, None], torch.arange(out.dim)
                if ir.l == 0:
                    place = (into.start + component) * len(paths) * mul + channel
                else:
                    place = channel * size + component
                order[third[ins.i_out]] = offset + place.flatten()
            self._groups.append((mul, ir.dim, len(paths)))
            self.register_buffer(f"coupling_{number}", coupling.flatten(1, 2))
            offset += len(paths) * mul * (width if ir.l == 0 else size)
        self.register_buffer("columns", torch.cat(columns), persistent=False)
        self.register_buffer("scale", torch.cat(scale))
        self.register_buffer("order", order, persistent=False)
        self.rearrange = True  # unless `Radial` does it

    def forward(
        self, node_feats: Tensor, edge_attrs: Tensor, tp_weights: Tensor, edge_index: Neighbors
    ) -> Tensor:
        """Return the messages.

        Parameters
        ----------
        node_feats
            Shape (N, components of the features).
        edge_attrs
            Spherical harmonics of each slot, zero where it is empty, shape (N, D, components).
        tp_weights
            Radial weights, shape (R, W).
        edge_index
            Table of neighbours.

        Returns
        -------
        torch.Tensor
            Shape (N, components of the product).
        """
        n, slots, _ = edge_attrs.shape
        if self.rearrange:
            tp_weights = tp_weights.index_select(1, self.columns) * self.scale
        weights = select_rows(tp_weights, edge_index.row.flatten())
        sender = edge_index.atom.flatten()
        # Not slices: the derivative of each would be a tensor of full size.
        features = node_feats.split([mul * dim for mul, dim, _ in self._groups], dim=1)
        radial = weights.split([mul * paths for mul, _, paths in self._groups], dim=1)
        sums = []
        for number, (mul, dim, paths) in enumerate(self._groups):
            if not paths:
                continue
            # Channels last: long inner loops.
            x = features[number].unflatten(1, (mul, dim)).transpose(1, 2)
            x = select_rows(x.reshape(n, 1, dim, mul), sender)
            own = radial[number].unflatten(1, (paths, 1, mul))
            product = (own * x).view(n, slots, paths * dim * mul)
            total = torch.bmm(edge_attrs.transpose(1, 2), product)
            if dim > 1:
                total = total.view(n, -1, paths, dim, mul).permute(2, 0, 4, 1, 3)
                total = torch.bmm(total.reshape(paths, n * mul, -1), self._coupling(number))
                total = total.view(paths, n, -1).transpose(0, 1)
            sums.append(total.reshape(n, -1))
        return torch.cat(sums, dim=1).index_select(1, self.order)

    def _coupling(self, number: int) -> Tensor:
        return getattr(self, f"coupling_{number}")


class Radial(nn.Module):
    """An `e3nn.nn.FullyConnectedNet` with all constants in its weights.

    Parameters
    ----------
    net
        The model's own network, whose parameters are shared under the same names.
    convolution
        The weights are returned as this block takes them.
    """

    columns: Tensor
    scale: Tensor

    def __init__(self, net: Any, convolution: Convolution) -> None:
        super().__init__()
        self.factors: list[float] = []
        gain = 1.0
        for number, layer in enumerate(net):
            self.add_module(f"layer{number}", layer)
            self.factors.append(gain / math.sqrt(layer.h_in * layer.var_in))
            gain = math.sqrt(layer.var_out) * float(getattr(layer.act, "cst", 1.0))
        self.register_buffer("columns", convolution.columns, persistent=False)
        self.register_buffer("scale", gain * convolution.scale)
        convolution.rearrange = False

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate for distances in rows, shape (R, number of basis functions)."""
        layers: list[Any] = list(self.children())
        for layer, factor in zip(layers[:-1], self.factors, strict=False):
            x = layer.act.f(x @ (layer.weight * factor))
        last = layers[-1].weight.index_select(1, self.columns) * (self.scale * self.factors[-1])
        return x @ last
