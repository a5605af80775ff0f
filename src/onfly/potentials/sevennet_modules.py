"""Modules of SevenNet that are replaced by faster ones with the same parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from onfly.potentials.e3nn_convolution import Convolution, Radial
from onfly.potentials.e3nn_maps import replace_modules

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

        if type(module.weight_nn) is not FullyConnectedNet or module.is_parallel:
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


def with_fast_modules(model: Any) -> Any:
    """Replace what can be in a SevenNet model, which is changed, and return it.

    Raises
    ------
    ValueError
        If its convolutions have an unknown form.
    """
    from sevenn.nn.convolution import IrrepsConvolution

    for name, module in list(model.named_children()):
        if type(module) is IrrepsConvolution:
            setattr(model, name, NeighborConvolution(module))
    replace_modules(model)
    return model
