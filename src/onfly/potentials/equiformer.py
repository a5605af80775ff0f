"""EquiformerV2 from a checkpoint file of fairchem-core 1.x (``.pt``).

Forces and stress are derivatives of the energy. The force head, which these models are trained
with, is left out, since its forces are not those of any energy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.edges import EdgeBatch, EdgePotential
from onfly.potentials.equiformer_energy import EquiformerEnergy
from onfly.potentials.equiformer_loading import read_checkpoint, read_model
from onfly.potentials.equiformer_pairs import nearest
from onfly.potentials.neighbors import Pairs

__all__ = ["EquiformerPotential", "load"]


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
) -> EquiformerPotential:
    """Load a checkpoint with all its elements; float32 unless another precision is asked for.

    Raises
    ------
    ImportError
        If fairchem-core 1.x is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint of EquiformerV2, would have to be unpickled, or does not know an
        element.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no EquiformerV2 checkpoint at {path}")
    model = read_model(read_checkpoint(path))
    potential = EquiformerPotential(name, model, device, dtype or torch.float32)
    potential.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    unknown = sorted(set(elements or ()) - set(potential.elements))
    if unknown:
        raise ValueError(f"{name} does not know the element(s) {', '.join(unknown)}")
    return potential


class EquiformerPotential(EdgePotential):
    """An EquiformerV2 model.

    Parameters
    ----------
    name
        Path it was loaded by.
    model
        Backbone and energy head.
    device, dtype
        Where and in which precision it is evaluated.
    """

    family = "equiformer_v2"
    can_stack = False  # the package writes into tensors that are not stacked
    index_kinds = MappingProxyType({"nearest": "edge"})
    defaults = Defaults(
        0.02, 3e-5, 3.0, 10.0, "σ_TL: paper, on OC20; the rest not tuned: paper's for NequIP", 3e-4
    )

    def __init__(
        self, name: str, model: EquiformerEnergy, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.name, self.device, self.dtype = name, device, dtype
        self._energy = model.to(device, dtype)
        self._reference = model.reference.to(device)
        self.elements = tuple(chemical_symbols[1 : len(self._reference)])
        self.n_features = model.n_features
        self.cutoff = float(model.backbone.max_radius)
        self.fixed = self._energy.unreached()
        self._names = [n for n, _ in model.named_parameters() if n not in self.fixed]

    def parameters(self) -> Params:
        """Return fresh copies of the pretrained parameters."""
        return {name: self._energy.get_parameter(name).detach().clone() for name in self._names}

    def indices(self, pairs: Pairs) -> dict[str, np.ndarray]:
        """Return the pairs with the nearest neighbours, to which the model is limited."""
        model = self._energy.backbone
        return {
            "nearest": nearest(pairs, model.max_neighbors, model.enforce_max_neighbors_strictly)
        }

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Evaluate `EquiformerEnergy` with the given parameters."""
        kept = data.index["nearest"]
        inputs = (vectors[kept], data.species + 1, data.center[kept], data.neighbor[kept])
        return torch.func.functional_call(self._energy, params, inputs)

    def site_reference(self, data: EdgeBatch) -> Tensor:
        """Return the energies added for each element, which are not sampled."""
        return self._reference[data.species + 1]
