"""Parameters that lie one after another in one vector, so that an operation touches all at once.

An update of some dozens of small tensors costs more for starting operations than for arithmetic.
(The same idea as ``ravel_pytree`` of JAX.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onfly.potentials import Params

__all__ = ["FlatParams"]


class FlatParams(dict[str, Tensor]):
    """Parameters by name, as views of `vector`.

    Parameters
    ----------
    vector
        All values, shape (P,). It is not copied: what changes it changes the parameters.
    shapes
        Names and shapes, in the order of the vector.
    """

    def __init__(self, vector: Tensor, shapes: Mapping[str, torch.Size]) -> None:
        self.vector, self.shapes = vector, dict(shapes)
        parts = vector.split([shape.numel() for shape in self.shapes.values()])
        super().__init__(
            (name, part.view(shape))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        )

    @classmethod
    def of(cls, params: Params) -> FlatParams:
        """Copy parameters into one vector.

        Raises
        ------
        ValueError
            If there are none, or they differ in type or device.
        """
        if not params:
            raise ValueError("there are no parameters to sample")
        if len(kinds := {(value.dtype, value.device) for value in params.values()}) > 1:
            raise ValueError(
                f"parameters must share one type and device, got {sorted(map(str, kinds))}"
            )
        vector = torch.cat([value.detach().reshape(-1) for value in params.values()])
        return cls(vector, {name: value.shape for name, value in params.items()})

    def with_vector(self, vector: Tensor) -> FlatParams:
        """Return another vector with the names and shapes of these parameters."""
        return FlatParams(vector, self.shapes)

    def gather(self, values: Mapping[str, Tensor | None]) -> Tensor:
        """Return tensors of these names as one vector, shape (P,); zeros for what is missing."""
        parts = []
        for name, view in self.items():
            value = values.get(name)
            parts.append(torch.zeros_like(view) if value is None else value)
        return torch.cat([part.reshape(-1) for part in parts])

    def spread(self, values: Mapping[str, float]) -> Tensor:
        """Return one number for each tensor, repeated for all its elements, shape (P,)."""
        sizes = torch.tensor([shape.numel() for shape in self.shapes.values()])
        numbers = torch.tensor([values[name] for name in self.shapes], dtype=torch.float64)
        return numbers.repeat_interleave(sizes).to(self.vector)
