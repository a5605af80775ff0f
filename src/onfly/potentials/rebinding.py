"""Other functions under a name that another package's code looks up, for single modules only.

Some packages sum over neighbours in place, which `torch.func.vmap` forbids. Exchanging the function
in the package's namespace would change it for everybody in the process. Here the module object gets
a copy of its own ``forward`` that looks up names in a namespace of its own.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["rebind", "scatter_sum"]


def scatter_sum(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    """Sum rows by index: what mace's and nequip's functions do, without in-place operations.

    Only so can `torch.func.vmap` map a model over stacked parameters.

    Parameters
    ----------
    src
        Rows, shape (E, ...) for ``dim=0``.
    index
        Row of the result to which each of them is added, shape (E,).
    dim, dim_size
        The dimension of the rows, and how many the result has.
    out, reduce
        As the functions of the packages have them; only their defaults are possible.

    Raises
    ------
    NotImplementedError
        For another reduction, or without the size of the result.
    """
    if out is not None or reduce != "sum" or dim_size is None:
        raise NotImplementedError("sum into a new tensor of given size only")
    shape = list(src.shape)
    shape[dim] = dim_size
    return src.new_zeros(shape).index_add(dim, index, src)


def rebind(model: nn.Module, **functions: Any) -> int:
    """Let the modules inside a model find other functions under the given names.

    Parameters
    ----------
    model
        Changed: each module whose ``forward`` looks up one of the names gets a copy of it.
    functions
        Name -> function to be found under it.

    Returns
    -------
    int
        How many modules were changed.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):  # compiled: no Python looks up anything
            continue
        forward = type(module).forward
        if not isinstance(forward, FunctionType):
            continue
        wanted = {n: f for n, f in functions.items() if n in forward.__code__.co_names}
        if not wanted:
            continue
        own = FunctionType(
            forward.__code__,
            {**forward.__globals__, **wanted},
            forward.__name__,
            forward.__defaults__,
            forward.__closure__,
        )
        own.__kwdefaults__ = forward.__kwdefaults__
        module.__dict__["forward"] = MethodType(own, module)
        changed += 1
    return changed
