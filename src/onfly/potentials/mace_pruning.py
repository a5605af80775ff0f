"""Removal of the elements that a system does not contain from a MACE model.

The weights of absent elements never enter a prediction and receive no gradient, so dropping them
changes neither predictions nor the posterior of the others. e3nn normalises by the number of
inputs, so the kept weights of maps that start from the one-hot elements are multiplied by
sqrt(kept / all); the prior's standard deviation of exactly these tensors has to follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import nn

from onfly.potentials.precision import default_dtype

__all__ = ["known_elements", "prune_elements"]


def known_elements(model: Any) -> tuple[str, ...]:
    """Return the chemical symbols that a MACE model describes, in its own order."""
    return tuple(chemical_symbols[int(z)] for z in model.atomic_numbers)


def prune_elements(model: nn.Module, elements: Sequence[str]) -> tuple[nn.Module, dict[str, float]]:
    """Return a copy of the model with only some elements.

    Parameters
    ----------
    model
        A MACE model.
    elements
        Chemical symbols to keep.

    Returns
    -------
    tuple
        The smaller model, and the factor by which each rescaled parameter was multiplied.

    Raises
    ------
    ValueError
        If the model does not know an element.
    """
    known = known_elements(model)
    unknown = sorted(set(elements) - set(known))
    if unknown:
        raise ValueError(f"the MACE model does not know the element(s) {', '.join(unknown)}")
    kept = [index for index, symbol in enumerate(known) if symbol in set(elements)]
    total, rows = len(known), torch.tensor(kept)
    small: Any = deepcopy(model)
    factors: dict[str, float] = {}
    factor = (len(kept) / total) ** 0.5
    with default_dtype(torch.float64):
        for name, parent, child, module in list(_element_maps(small, total)):
            setattr(parent, child, _pruned_map(module, rows, total, factor))
            factors[f"{name}.weight"] = factor
    for product in small.products:
        if getattr(product, "use_agnostic_product", False):
            continue
        for contraction in product.symmetric_contractions.contractions:
            for parameter in contraction.parameters(recurse=True):
                parameter.data = parameter.data[rows].clone()
    small.atomic_numbers = small.atomic_numbers[rows]
    energies = small.atomic_energies_fn.atomic_energies
    small.atomic_energies_fn.atomic_energies = energies[..., rows].clone()
    return small, factors


def _element_maps(model: nn.Module, n_elements: int) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """Yield e3nn maps whose input is, or contains, the one-hot vector of the elements."""
    from e3nn import o3

    onehot = o3.Irreps(f"{n_elements}x0e")
    names = ("linear", "skip_tp", "source_embedding", "target_embedding")
    for parent_name, parent in model.named_modules():
        in_embedding = parent_name == "node_embedding"
        for child, module in parent.named_children():
            if child not in names or (child == "linear") != in_embedding:
                continue
            name = f"{parent_name}.{child}" if parent_name else child
            if isinstance(module, o3.Linear):
                if module.irreps_in == onehot:
                    yield name, parent, child, module
            elif isinstance(module, o3.TensorProduct) and module.irreps_in2 == onehot:
                yield name, parent, child, module


def _pruned_map(module: Any, rows: torch.Tensor, total: int, factor: float) -> nn.Module:
    """Build the same map with fewer elements, from the rows of its weights."""
    from e3nn import o3

    onehot = o3.Irreps(f"{len(rows)}x0e")
    new: Any
    if isinstance(module, o3.Linear):
        new = o3.Linear(onehot, module.irreps_out)
        shapes = [(total, i.path_shape[1]) for i in module.instructions if i.i_in >= 0]
        axis = 0
    else:
        new = o3.FullyConnectedTensorProduct(module.irreps_in1, onehot, module.irreps_out)
        shapes = [i.path_shape for i in module.instructions if i.has_weight]
        axis = 1
    old = module.weight.detach()
    pieces = torch.split(old, [int(torch.Size(shape).numel()) for shape in shapes])
    kept = [
        piece.reshape(shape).index_select(axis, rows).flatten()
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
    new.to(old.dtype)
    new.weight = nn.Parameter(torch.cat(kept) * factor)
    return new
