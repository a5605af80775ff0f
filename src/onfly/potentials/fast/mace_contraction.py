"""MACE's symmetric contraction over the monomials that occur, instead of over dense tensors.

The contraction (Batatia et al., arXiv:2206.07697, equations 10 and 11) is a polynomial in the
components x_i of a channel, Σ_k W_k Σ_ijl U_ijlk x_i x_j x_l + … Of the entries of U more than 99 %
are zero: of 4096 products of three components 77 distinct ones remain for a scalar of four angular
orders. Evaluated so, the most expensive part of a small model becomes one of the cheapest.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["MonomialContraction", "with_monomials"]


class MonomialContraction(nn.Module):
    """What a `mace.modules.symmetric_contraction.Contraction` computes; same parameter names.

    Parameters
    ----------
    contraction
        The model's own block; its parameters are shared.
    """

    factors: Tensor
    table: Tensor

    def __init__(self, contraction: Any) -> None:
        super().__init__()
        self.correlation = int(contraction.correlation)
        self.weights_max = contraction.weights_max
        self.weights = contraction.weights
        for power in range(1, self.correlation + 1):
            self.register_buffer(f"U_matrix_{power}", contraction.U_tensors(power))
        factors, table = self._monomials()
        self.register_buffer("factors", factors)
        self.register_buffer("table", table)
        self.n_components = table.shape[1] // sum(
            self.U_tensors(power).shape[-1] for power in range(1, self.correlation + 1)
        )

    def U_tensors(self, power: int) -> Tensor:  # noqa: N802 - mace's name
        """Return the coupling coefficients of one power."""
        return getattr(self, f"U_matrix_{power}")

    def _monomials(self) -> tuple[Tensor, Tensor]:
        """Return what selects the factors of each monomial, and its coefficients.

        The polynomial of one channel, with power ν up to the correlation V and paths k, is
        B_c = Σ_ν Σ_k W_νk Σ_{i1…iν} U^ν_{c,i1…iν,k} x_i1 … x_iν. A product of numbers does not
        depend on their order, so all entries of U whose places are a permutation of one another
        multiply the same monomial: with the sorted places as key, their sum is its coefficient
        in column (c, νk). What remains is B_c = Σ_νk W_νk (Σ_m M_m T_{m,(c,νk)}), with M_m the
        monomials that have a coefficient at all.

        All M_m come from V matrix products: with x_S = 1 appended behind the S components, a
        monomial of lower power is filled up with ones to V factors, and the factor f of all
        monomials is x @ F_f with one 1 in each column of F_f. (A product with a matrix of zeros
        and ones is used because its derivatives are again such products, and vmap keeps it fast.)

        Returns
        -------
        tuple
            F, shape (V, S + 1, monomials), and T, shape (monomials, components times paths), with
            the paths in the order of the weights: from the highest power to the lowest.
        """
        order = range(self.correlation, 0, -1)  # that of weights_max, weights.0, …
        size = self.U_tensors(1).shape[-2]
        found: dict[tuple[int, ...], dict[tuple[int, int], float]] = {}
        n_paths = 0
        for power in order:
            u = self.U_tensors(power).double().cpu()
            u = u if u.dim() == power + 2 else u[None]
            n_components = u.shape[0]
            for entry in u.nonzero().tolist():
                component, *place, path = entry
                monomial = (*sorted(place), *[size] * (self.correlation - power))
                column = (component, n_paths + path)
                sums = found.setdefault(monomial, {})
                sums[column] = sums.get(column, 0.0) + float(u[tuple(entry)])
            n_paths += u.shape[-1]
        like = self.U_tensors(1)
        monomials = sorted(found)
        factors = like.new_zeros(self.correlation, size + 1, len(monomials))
        table = torch.zeros(len(monomials), n_components, n_paths, dtype=torch.float64)
        for row, monomial in enumerate(monomials):
            for factor, place in zip(itertools.count(), monomial, strict=False):
                factors[factor, place, row] = 1.0
            for (component, path), value in found[monomial].items():
                table[row, component, path] = value
        return factors, table.flatten(1).to(like)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Contract.

        Parameters
        ----------
        x
            Components of each channel, shape (N, C, components).
        y
            Elements of the atoms, shape (N, number of elements).

        Returns
        -------
        torch.Tensor
            Shape (N, C times components of the result).
        """
        n, channels, _ = x.shape
        x = pad(x, (0, 1), value=1.0).flatten(0, 1)
        product = torch.matmul(x, self.factors[0])
        for factor in self.factors[1:]:
            product = product * torch.matmul(x, factor)
        paths = torch.matmul(product, self.table)
        weight = torch.cat([self.weights_max, *self.weights], dim=1)  # (elements, paths, C)
        own = torch.matmul(y, weight.flatten(1)).unflatten(1, weight.shape[1:]).transpose(1, 2)
        paths = paths.view(n, channels, self.n_components, -1)
        return (paths * own.unsqueeze(2)).sum(-1).flatten(1)


def with_monomials(model: Any) -> tuple[int, list[str]]:
    """Replace the contractions of a MACE module, which is changed.

    Returns
    -------
    tuple
        How many were replaced, and a line for each that was not.
    """
    from mace.modules.symmetric_contraction import Contraction

    replaced, kept = 0, []
    for number, product in enumerate(model.products):
        blocks = getattr(product.symmetric_contractions, "contractions", [])
        for place, block in enumerate(blocks):
            if type(block) is Contraction:
                blocks[place] = MonomialContraction(block)
                replaced += 1
            elif not isinstance(block, MonomialContraction):
                kept.append(f"products.{number} (a {type(block).__name__})")
    return replaced, kept
