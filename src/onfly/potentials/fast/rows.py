"""Selection of rows by index, and its derivative, that stay fast under `torch.func.vmap`.

For stacked tensors vmap turns `index_select` and `index_add` into `gather` and `scatter_add`, which
look up every element instead of every row and take ten times as long on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["select_rows"]


def select_rows(x: Tensor, index: Tensor) -> Tensor:
    """Return ``x[index]`` for the first dimension; the index is the same for all of a stack."""
    return _Select.apply(x, index, 0)


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, index: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        x, index, ctx.dim = inputs
        ctx.save_for_backward(index)
        ctx.size = x.shape[ctx.dim]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return _Add.apply(grad, index, ctx.dim, ctx.size), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, index: Tensor, dim: int
    ) -> tuple[Tensor, int]:
        if in_dims[0] is None:
            raise NotImplementedError("an index of its own for each of a stack")
        return _Select.apply(x.movedim(in_dims[0], 0), index, dim + 1), 0


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
        shape = list(x.shape)
        shape[dim] = size
        return x.new_zeros(shape).index_add_(dim, index, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        _, index, ctx.dim, _ = inputs
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (index,) = ctx.saved_tensors
        return _Select.apply(grad, index, ctx.dim), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, index: Tensor, dim: int, size: int
    ) -> tuple[Tensor, int]:
        if in_dims[0] is None:
            raise NotImplementedError("an index of its own for each of a stack")
        return _Add.apply(x.movedim(in_dims[0], 0), index, dim + 1, size), 0
