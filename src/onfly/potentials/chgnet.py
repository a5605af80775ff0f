"""CHGNet 0.3.0 (PBE, PBE+U) and its r2SCAN version; the weights come with the ``chgnet`` wheel.

The released networks give eV per atom and GPa; here, as everywhere, totals in eV and eV/Å³.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.chgnet_energy import (
    ATOM_CUTOFF,
    INDEX_KINDS,
    N_FEATURES,
    chgnet_indices,
    chgnet_site_energies,
)
from onfly.potentials.edges import EdgeBatch, EdgePotential
from onfly.potentials.neighbors import Pairs

__all__ = ["CHGNetPotential", "load"]

CHECKPOINTS = {
    "chgnet-0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
EMBEDDING = "atom_embedding.embedding.weight"
REFERENCE = "composition_model.fc.weight"
# Magnetic moments and the last angle layer do not enter the energy; the reference is fitted.
NOT_SAMPLED = (REFERENCE, "site_wise.", "angle_layers.2.")


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
) -> CHGNetPotential:
    """Load a released network; float32 unless another precision is asked for.

    Raises
    ------
    ImportError
        If the package is not installed.
    """
    package = find_spec("chgnet")
    if package is None or package.origin is None:
        raise ImportError('CHGNet is not installed: pip install "onfly[chgnet]"')
    path = Path(package.origin).parent / "pretrained" / CHECKPOINTS[name]
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]["state_dict"]
    potential = CHGNetPotential(name, state, elements, device, dtype or torch.float32)
    potential.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return potential


class CHGNetPotential(EdgePotential):
    """CHGNet with the embeddings of the elements kept; the others never receive a gradient."""

    family = "chgnet"
    cutoff = ATOM_CUTOFF
    n_features = N_FEATURES
    index_kinds = INDEX_KINDS
    defaults = Defaults(
        0.5, 3e-4, 1.5, 10.0, "step size measured on rock salt; the rest: paper's for MACE"
    )

    def __init__(
        self,
        name: str,
        state: Params,
        elements: Sequence[str] | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.name, self.device, self.dtype = name, device, dtype
        known = chemical_symbols[1 : 1 + len(state[EMBEDDING])]
        self.elements = tuple(dict.fromkeys(elements)) if elements is not None else tuple(known)
        unknown = sorted(set(self.elements) - set(known))
        if unknown:
            raise ValueError(f"CHGNet does not know the element(s) {', '.join(unknown)}")
        rows = torch.tensor([known.index(symbol) for symbol in self.elements])
        self._reference = state[REFERENCE][0, rows].double().to(device)
        self.fixed = tuple(key for key in state if key.startswith(NOT_SAMPLED))
        self._weights: Params = {
            key: (tensor[rows] if key == EMBEDDING else tensor).to(device, dtype).clone()
            for key, tensor in state.items()
            if key not in self.fixed
        }

    def parameters(self) -> Params:
        """Return fresh copies of the pretrained parameters."""
        return {name: tensor.clone() for name, tensor in self._weights.items()}

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Evaluate `chgnet_site_energies`."""
        return chgnet_site_energies(params, vectors, data)

    def site_reference(self, data: EdgeBatch) -> Tensor:
        """Return the fitted reference energies of the elements, which are not sampled."""
        return self._reference[data.species]

    def indices(self, pairs: Pairs) -> dict[str, np.ndarray]:
        """Evaluate `chgnet_indices`."""
        return chgnet_indices(pairs)
