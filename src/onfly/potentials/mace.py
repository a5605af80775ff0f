"""MACE: names that mace downloads (``mace-mp-medium``, ``mace-off-small`` …) or a model file.

Model files are pickled modules, which are read only if known or trusted (see `mace_loading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.edges import UNDIRECTED, EdgeBatch, EdgePotential
from onfly.potentials.fast.mace_modules import with_fast_modules
from onfly.potentials.mace_energy import MACEEnergy
from onfly.potentials.mace_loading import checkpoint_path, read_model
from onfly.potentials.mace_pruning import known_elements, prune_elements
from onfly.potentials.rebinding import rebind, scatter_sum

__all__ = ["MACEPotential", "load"]


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
    *,
    head: str | None = None,
    trust_pickle: bool = False,
    fast_kernels: bool = True,
) -> MACEPotential:
    """Load a MACE model in its own precision, or another one, with all or some elements.

    Raises
    ------
    ImportError
        If mace is not installed.
    FileNotFoundError, ValueError, RuntimeError
        See `checkpoint_path` and `read_model`.
    """
    model, sha256 = read_model(checkpoint_path(name), trust_pickle)
    return MACEPotential(
        name, model, elements, device, dtype, sha256, head=head, fast_kernels=fast_kernels
    )


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
    head
        Which head of a model with several of them; None takes the one called "default".
    fast_kernels
        Whether onfly's kernels replace the model's modules (see `fast`).
    """

    family = "mace"
    index_kinds = UNDIRECTED
    defaults = Defaults(0.5, 1e-3, 1.5, 10.0, "paper, for MACE-MP-0 medium")

    def __init__(
        self,
        name: str,
        model: Any,
        elements: Sequence[str] | None = None,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        dtype: torch.dtype | None = None,
        sha256: str | None = None,
        head: str | None = None,
        fast_kernels: bool = True,
    ) -> None:
        self.name, self.sha256, self.device = name, sha256, device
        self.dtype = dtype or next(model.parameters()).dtype
        model = model.to(self.dtype)
        self._scale: dict[str, float] = {}
        if elements is not None and set(elements) != set(known_elements(model)):
            model, self._scale = prune_elements(model, elements)
        self.elements = known_elements(model)
        self.has_table = fast_kernels and with_fast_modules(name, model)
        rebind(model, scatter_sum=scatter_sum)  # for `torch.func.vmap`
        energy = MACEEnergy(model, head, self.has_table)
        # What looks at values comes before the move to the device.
        self.n_features = energy.n_features
        self.cutoff = float(energy.model.r_max)
        self.fixed = energy.unreached()
        self._reference = energy.reference().to(device)
        self._energy = energy.to(device, self.dtype).eval().requires_grad_(False)

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
