"""Modules of MACE that are replaced by faster ones with the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from onfly.potentials.fast import report_replacements
from onfly.potentials.fast.e3nn_convolution import Convolution, Radial
from onfly.potentials.fast.e3nn_maps import replace_modules
from onfly.potentials.fast.mace_contraction import with_monomials

__all__ = [
    "PolynomialEnvelope",
    "Reshape",
    "with_convolutions",
    "with_direct_maps",
    "with_fast_modules",
]


class Reshape(nn.Module):
    """What `mace.modules.irreps_tools.reshape_irreps` does, as one selection of columns."""

    order: Tensor

    def __init__(self, irreps: Any) -> None:
        super().__init__()
        (self.mul,) = {mul for mul, _ in irreps}
        columns = [torch.arange(s.start, s.stop).view(self.mul, -1) for s in irreps.slices()]
        self.register_buffer("order", torch.cat(columns, dim=1).flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return components by channel, shape (N, C, components)."""
        return x.index_select(1, self.order).view(len(x), self.mul, -1)


class PolynomialEnvelope(nn.Module):
    """What `mace.modules.radial.PolynomialCutoff` computes."""

    def __init__(self, cutoff: Any) -> None:
        super().__init__()
        self.r_max, self.p = float(cutoff.r_max), int(cutoff.p)

    def forward(self, x: Tensor) -> Tensor:
        """Return the envelope at distances in Å."""
        p, x = self.p, x / self.r_max
        a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
        return (1.0 + x**p * (a + x * (b + c * x))) * (x < 1.0)


def with_convolutions(model: Any) -> int:
    """Replace the convolutions of a MACE module, which is changed only if all can be.

    Returns
    -------
    int
        How many modules were replaced.

    Raises
    ------
    ValueError
        If one has another form than MACE's.
    """
    from e3nn import nn as e3nn_networks

    convolutions = [Convolution(block.conv_tp) for block in model.interactions]
    count = len(convolutions)
    for block, convolution in zip(model.interactions, convolutions, strict=True):
        block.conv_tp = convolution
        block.conv_fusion = True  # mace then leaves the sum over neighbours to `conv_tp`
        net = block.conv_tp_weights
        if type(net) is e3nn_networks.FullyConnectedNet:
            block.conv_tp_weights = Radial(net, convolution)
            count += 1
    return count


def with_direct_maps(model: Any) -> tuple[int, list[str]]:
    """Replace maps, harmonics, cutoff and reshaping in a MACE module, which is changed.

    Returns
    -------
    tuple
        As of `replace_modules`.
    """
    from mace.modules.irreps_tools import reshape_irreps
    from mace.modules.radial import PolynomialCutoff

    others: dict[type, Callable[[Any], nn.Module]] = {
        reshape_irreps: lambda module: Reshape(module.irreps),
        PolynomialCutoff: PolynomialEnvelope,
    }
    return replace_modules(model, others)


def with_fast_modules(name: str, model: Any) -> bool:
    """Replace all that can be in a MACE module, which is changed, and log it.

    Parameters
    ----------
    name
        Name of the model, for the log.
    model
        A `mace.modules.MACE`.

    Returns
    -------
    bool
        Whether its convolutions take the neighbours as a table (see `Neighbors`).
    """
    kept = []
    replaced, reasons = with_monomials(model)
    kept += reasons
    try:
        replaced += with_convolutions(model)
        table = True
    except ValueError as reason:
        kept.append(f"interactions ({reason})")
        table = False
    count, reasons = with_direct_maps(model)
    report_replacements(name, replaced + count, kept + reasons)
    return table
