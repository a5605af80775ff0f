"""e3nn's linear maps and spherical harmonics with as few operations as possible.

In a small system a step of the sampler is the cost of starting some thousand operations, most of
which are e3nn's handling of shapes and constants, and their first and second derivatives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Harmonics", "LinearMap", "replace_modules"]


class _Block(NamedTuple):
    """Map of all inputs of one representation to the outputs of it."""

    begin: int  # of its columns in the input
    mul: int  # inputs; an output without any is zero
    dim: int
    width: int  # outputs, times the number of elements


class LinearMap(nn.Module):
    """What an `e3nn.o3.Linear` computes, or a product with the one-hot elements; same parameters.

    Parameters
    ----------
    module
        The model's own map.

    Raises
    ------
    ValueError
        If it has another form.
    """

    factor: Tensor
    into: Tensor
    out: Tensor
    which: Tensor

    def __init__(self, module: Any) -> None:
        super().__init__()
        from e3nn import o3

        self.weight = module.weight
        self.irreps_out = module.irreps_out
        linear = isinstance(module, o3.Linear)
        inputs = module.irreps_in if linear else module.irreps_in1
        self.n_elements = 0 if linear else module.irreps_in2.dim
        if not linear and str(module.irreps_in2) != f"{self.n_elements}x0e":
            raise ValueError("the second factor is no one-hot vector")
        self.blocks, factors = self._blocks(module, inputs, self.n_elements or 1)
        self.register_buffer("factor", factors)
        self.columns, self.place = self._split(inputs.dim)
        first = self.blocks[0]
        self.uniform = len(self.blocks) > 1 and all(
            b.mul and (b.mul, b.width) == (first.mul, first.width) for b in self.blocks
        )
        if self.uniform:
            # All components as one batch of equal products: (components, channels) of the input,
            # and back to channels of each representation.
            into, out, begin = [], [], 0
            width = first.width // (self.n_elements or 1)
            total = sum(b.dim for b in self.blocks)
            for b in self.blocks:
                channel = torch.arange(b.mul) * b.dim + b.begin
                into += [channel + component for component in range(b.dim)]
                channel = torch.arange(width)[:, None] * total + begin
                out.append((channel + torch.arange(b.dim)).flatten())
                begin += b.dim
            self.register_buffer("into", torch.cat(into), persistent=False)
            self.register_buffer("out", torch.cat(out), persistent=False)
            sizes = torch.tensor([b.dim for b in self.blocks])
            which = torch.repeat_interleave(torch.arange(len(self.blocks)), sizes)
            self.register_buffer("which", which, persistent=False)

    @staticmethod
    def _blocks(module: Any, inputs: Any, n_elements: int) -> tuple[list[_Block], Tensor]:
        """Sort the paths of the map by the representation of their output.

        By Schur's lemma an equivariant linear map joins only equal representations ir, and acts
        on their channels alone: y[w, m] = Σ_u W[u, w] x[u, m] with one matrix W for all components
        m. Several inputs of the same ir (paths of e3nn) add up in one output, so that their
        matrices, one below the other, are one matrix on the joined channels u. e3nn stores the
        weights of all paths flat, path after path: if the paths of an output follow one another,
        in the order of their inputs, this slice of the weights *is* that matrix, row by row, and
        no weight has to be moved. Every other order is refused.

        With the one-hot elements z as second factor, W[u, z, w] holds a matrix for each element;
        the result for all of them, as Z·W columns, is computed and the atom's own is kept.

        e3nn multiplies a path by ``path_weight``, which for a tensor product counts the Wigner
        symbol: that of (ir, 0e, ir) is the unit matrix over sqrt(dim), so the factor of a path is
        path_weight / sqrt(dim), where a linear map (no symbol) has path_weight alone.
        """
        blocks, factors, first = [], [], 0
        slices = inputs.slices()
        found = iter(module.instructions)
        for number, (mul_out, ir) in enumerate(module.irreps_out):
            own = [ins for ins in module.instructions if ins.i_out == number]
            if not own:
                blocks.append(_Block(0, 0, ir.dim, n_elements * mul_out))
                continue
            if any(next(found) is not ins for ins in own):
                raise ValueError("weights in another order")
            places = [ins.i_in if hasattr(ins, "i_in") else ins.i_in1 for ins in own]
            if min(places) < 0 or places != list(range(places[0], places[0] + len(own))):
                raise ValueError("a bias, or inputs in another order")
            mul = sum(inputs[place].mul for place in places)
            blocks.append(_Block(slices[places[0]].start, mul, ir.dim, n_elements * mul_out))
            for ins in own:
                size = math.prod(ins.path_shape)
                norm = 1.0 if n_elements == 1 and hasattr(ins, "i_in") else math.sqrt(ir.dim)
                factors.append(torch.full((size,), ins.path_weight / norm, dtype=torch.float64))
                first += size
        if first != module.weight.numel():
            raise ValueError("weights that enter no output")
        if not factors:
            raise ValueError("no weights")
        return blocks, torch.cat(factors)

    def _split(self, width: int) -> tuple[list[int], dict[int, int]]:
        """Return widths of the parts of the input, and which part begins where."""
        widths, place, end = [], {}, 0
        for b in sorted(b for b in self.blocks if b.mul):
            if b.begin > end:  # inputs that enter no output
                widths.append(b.begin - end)
            place[b.begin] = len(widths)
            widths.append(b.mul * b.dim)
            end = b.begin + b.mul * b.dim
        return [*widths, width - end] if width > end else widths, place

    def forward(self, x: Tensor, onehot: Tensor | None = None) -> Tensor:
        """Map components of the input, shape (N, I), with the elements (N, Z), to (N, O)."""
        weight = self.weight * self.factor
        n = len(x)
        if self.uniform:
            first = self.blocks[0]
            x = x.index_select(1, self.into).view(n, -1, first.mul).transpose(0, 1)
            matrices = weight.view(-1, first.mul, first.width).index_select(0, self.which)
            y = self._own(torch.bmm(x, matrices), onehot)  # (components, N, channels)
            return y.permute(1, 2, 0).reshape(n, -1).index_select(1, self.out)
        # Not slices: the derivative of each would be a tensor of full size.
        parts = x.split(self.columns, dim=1)
        matrices = weight.split([b.mul * b.width for b in self.blocks])
        outputs = []
        for b, matrix in zip(self.blocks, matrices, strict=True):
            if not b.mul:
                outputs.append(x.new_zeros(n, b.dim * b.width // (self.n_elements or 1)))
                continue
            part, matrix = parts[self.place[b.begin]], matrix.view(b.mul, b.width)
            if b.dim == 1:
                outputs.append(self._own(part @ matrix, onehot))
                continue
            part = part.view(n, b.mul, b.dim).permute(2, 0, 1).reshape(-1, b.mul)
            y = self._own((part @ matrix).view(b.dim, n, -1), onehot)
            outputs.append(y.permute(1, 2, 0).reshape(n, -1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _own(self, y: Tensor, onehot: Tensor | None) -> Tensor:
        """Of the results for all elements, (..., N, Z * W), keep each atom's own."""
        if onehot is None:
            return y
        return (y.unflatten(-1, (self.n_elements, -1)) * onehot.unsqueeze(-1)).sum(-2)


class Harmonics(nn.Module):
    """Spherical harmonics of directions, as polynomials of their components.

    On the unit sphere the 2l + 1 harmonics of order l are homogeneous polynomials of degree l in
    (x, y, z), that is linear combinations of its (l + 1)(l + 2)/2 monomials. The coefficients are
    not written down for each normalisation that e3nn knows, but solved for: at 200 random
    directions, far more than there are monomials, Y = B T with the harmonics Y that the module
    gives and the monomials B holds exactly, and T is found by least squares, order by order. (The
    monomials of one degree are independent on the sphere; those of different degrees are not, since
    x² + y² + z² = 1.) A residual above 1e-9 means that the module is something else. As in
    `mace_contraction`, a 1 behind the three components fills monomials of lower degree up to as
    many factors as the highest has, so that all of them come from a few matrix products.

    Parameters
    ----------
    harmonics
        An `e3nn.o3.SphericalHarmonics` of angular orders 0, 1, … L.

    Raises
    ------
    ValueError
        If the module is of another kind.
    """

    factors: Tensor
    table: Tensor

    def __init__(self, harmonics: Any) -> None:
        super().__init__()
        orders = [ir.l for _, ir in harmonics.irreps_out]
        if orders != list(range(len(orders))) or not harmonics.normalize:
            raise ValueError("other spherical harmonics")
        top = orders[-1]
        generator = torch.Generator().manual_seed(0)
        points = torch.randn(200, 3, generator=generator, dtype=torch.float64)
        points = points / points.norm(dim=1, keepdim=True)
        like = next(iter(harmonics.buffers()), torch.empty(0))
        values = harmonics.double()(points).detach()
        harmonics.to(like.dtype)
        # With a constant 1 behind the components, every monomial has as many factors.
        monomials = [
            (*places, *[3] * (top - order))
            for order in orders
            for places in itertools.combinations_with_replacement(range(3), order)
        ]
        factors = torch.zeros(top, 4, len(monomials), dtype=torch.float64)
        for column, monomial in enumerate(monomials):
            for factor, place in enumerate(monomial):
                factors[factor, place, column] = 1.0
        self.register_buffer("factors", factors)
        basis = self._products(points)
        table = torch.zeros(len(monomials), values.shape[1], dtype=torch.float64)
        row = 0
        for order, columns in zip(orders, harmonics.irreps_out.slices(), strict=True):
            own = slice(row, row := row + (order + 1) * (order + 2) // 2)
            table[own, columns] = torch.linalg.lstsq(basis[:, own], values[:, columns]).solution
        if (basis @ table - values).abs().max() > 1e-9:
            raise ValueError("the spherical harmonics are no polynomials of the direction")
        self.register_buffer("table", torch.where(table.abs() < 1e-12, 0.0, table))

    def _products(self, directions: Tensor) -> Tensor:
        one = torch.ones_like(directions[:, :1])
        x = torch.cat([directions, one], dim=1)
        if not len(self.factors):
            return one
        product = x @ self.factors[0]
        for factor in self.factors[1:]:
            product = product * (x @ factor)
        return product

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the harmonics of the vectors' directions, shapes (E, 3) and (E, components)."""
        length = vectors.square().sum(1, keepdim=True).sqrt()
        return self._products(vectors / length) @ self.table


def replace_modules(
    model: Any,
    others: Mapping[type, Callable[[Any], nn.Module]] = MappingProxyType({}),
) -> tuple[int, list[str]]:
    """Replace e3nn's and other modules inside a model, which is changed.

    Parameters
    ----------
    model
        The model.
    others
        Further kinds of modules, and what makes the replacement of one; it raises a ValueError
        for a form that it does not know.

    Returns
    -------
    tuple
        How many were replaced, and a line for each that was not: its name and the reason.
    """
    from e3nn import o3

    kinds: dict[type, Callable[[Any], nn.Module]] = {
        o3.Linear: LinearMap,
        o3.FullyConnectedTensorProduct: LinearMap,
        o3.SphericalHarmonics: Harmonics,
        **others,
    }
    replaced, kept = 0, []
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if type(child) not in kinds:
                continue
            try:
                setattr(parent, name, kinds[type(child)](child))
                replaced += 1
            except ValueError as reason:
                kept.append(f"{path}.{name} ({reason})")
    return replaced, kept
