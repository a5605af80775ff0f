"""Modules of SevenNet that are replaced by faster ones with the same parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from onfly.potentials.fast import report_replacements
from onfly.potentials.fast.e3nn_convolution import Convolution, Radial
from onfly.potentials.fast.e3nn_maps import replace_modules

__all__ = ["NeighborConvolution", "with_fast_modules"]


class NeighborConvolution(nn.Module):
    """What a `sevenn.nn.convolution.IrrepsConvolution` does, with the neighbours in a table.

    Parameters
    ----------
    module
        The model's own, whose parameters are shared under the same names.

    Raises
    ------
    ValueError
        If its product or its network has an unknown form.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        from e3nn.nn import FullyConnectedNet
        from sevenn.nn.convolution import IrrepsConvolution

        if type(module) is not IrrepsConvolution or type(module.weight_nn) is not FullyConnectedNet:
            raise ValueError(f"a {type(module).__name__}")
        if module.is_parallel:
            raise ValueError("a convolution of an unknown form")
        self.convolution = Convolution(module.convolution)
        self.weight_nn = Radial(module.weight_nn, self.convolution)
        self.denominator = module.denominator
        self.key = module.key_x
        self.keys = (module.key_filter, module.key_weight_input, module.key_edge_idx)

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace the features of the atoms by the sum of their messages.

        As with SevenNet's own, but harmonics are given by slot, what enters the network by row of
        the radial functions, and in place of the index of the pairs stands `Neighbors`.
        """
        harmonics, basis, neighbors = (data[key] for key in self.keys)
        weights = self.weight_nn(basis)
        message = self.convolution(data[self.key], harmonics, weights, neighbors)
        data[self.key] = message / self.denominator
        return data


def with_fast_modules(name: str, model: Any) -> bool:
    """Replace all that can be in a SevenNet model, which is changed, and log it.

    Parameters
    ----------
    name
        Name of the model, for the log.
    model
        A `sevenn.nn.sequential.AtomGraphSequential`.

    Returns
    -------
    bool
        Whether its convolutions take the neighbours as a table (see `Neighbors`).
    """
    from sevenn.nn.convolution import IrrepsConvolution

    found = {k: m for k, m in model.named_children() if isinstance(m, IrrepsConvolution)}
    kept = []
    convolutions = {}
    try:
        convolutions = {key: NeighborConvolution(module) for key, module in found.items()}
    except ValueError as reason:
        kept.append(f"convolutions ({reason})")
    for key, module in convolutions.items():
        setattr(model, key, module)
    count, reasons = replace_modules(model)
    report_replacements(name, len(convolutions) + count, kept + reasons)
    return not kept
