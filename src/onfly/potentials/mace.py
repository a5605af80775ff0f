"""MACE: names that mace downloads (``mace-mp-medium``, ``mace-off-small`` …) or a model file.

Model files are pickled modules: name only files that you trust (see `mace_loading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.edges import UNDIRECTED, EdgeBatch, EdgePotential
from onfly.potentials.mace_contraction import with_monomials
from onfly.potentials.mace_energy import MACEEnergy
from onfly.potentials.mace_loading import PREFIXES, checkpoint_path, read_checkpoint
from onfly.potentials.mace_modules import with_convolutions, with_direct_maps
from onfly.potentials.mace_pruning import known_elements, prune_elements

__all__ = ["MACEPotential", "load", "matches"]


def matches(name: str) -> bool:
    """Say whether mace knows such names, or the name is that of a model file."""
    return name.startswith(PREFIXES) or Path(name).suffix == ".model"


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
) -> MACEPotential:
    """Load a MACE model in its own precision, or another one, with all or some elements.

    Raises
    ------
    ImportError
        If mace is not installed.
    FileNotFoundError, ValueError, RuntimeError
        See `checkpoint_path` and `read_checkpoint`.
    """
    model, sha256 = read_checkpoint(checkpoint_path(name))
    return MACEPotential(name, model, elements, device, dtype, sha256)


class MACEPotential(EdgePotential):
    """A MACE model, reduced to the elements of the system.

    Parameters
    ----------
    name, elements, device, dtype
        As of `load`; without a precision, the model's own.
    model
        A `mace.modules.MACE`, which is changed.
    sha256
        Digest of the model file.
    """

    family = "mace"
    has_table = True
    index_kinds = UNDIRECTED
    defaults = Defaults(0.5, 1e-3, 1.5, 10.0, "paper, for MACE-MP-0 medium")

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        elements: Sequence[str] | None = None,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        dtype: torch.dtype | None = None,
        sha256: str | None = None,
    ) -> None:
        self.name, self.sha256, self.device = name, sha256, device
        self.dtype = dtype or next(model.parameters()).dtype
        model = model.to(self.dtype)
        self._scale: dict[str, float] = {}
        if elements is not None and set(elements) != set(known_elements(model)):
            model, self._scale = prune_elements(model, elements)
        self.elements = known_elements(model)
        model = with_direct_maps(with_convolutions(with_monomials(model)))
        energy = MACEEnergy(model).to(device, self.dtype)
        self._energy = energy.eval().requires_grad_(False)
        self.n_features = self._energy.n_features
        self.cutoff = float(self._energy.model.r_max)
        self._reference = self._energy.reference().to(device)
        self.fixed = self._energy.unreached()

    def parameters(self) -> Params:
        """Return fresh copies of the pretrained parameters."""
        return {
            name: tensor.detach().clone()
            for name, tensor in self._energy.model.named_parameters()
            if name not in self.fixed
        }

    def prior_scale(self) -> dict[str, float]:
        """Return the factors on σ_TL of the tensors that pruning rescaled."""
        return dict(self._scale)

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Evaluate `MACEEnergy` with the given parameters."""
        named = {f"model.{name}": tensor for name, tensor in params.items()}
        return torch.func.functional_call(self._energy, named, (vectors, data))

    def site_reference(self, data: EdgeBatch) -> Tensor:
        """Return the energies of the isolated atoms, which are not sampled."""
        return self._reference[data.species]
