"""SevenNet: ``sevennet-0`` and ``sevennet-l3i5`` (weights in the ``sevenn`` wheel), or a file.

Checkpoint files are pickled. Those of the wheel are trusted as the wheel is; others only if the
user says so (see `trust`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.edges import UNDIRECTED, EdgeBatch, EdgePotential
from onfly.potentials.fast.sevennet_modules import with_fast_modules
from onfly.potentials.precision import default_dtype
from onfly.potentials.rebinding import rebind
from onfly.potentials.sevennet_energy import SevenNetEnergy, message_gather
from onfly.potentials.trust import require_trust

__all__ = ["SevenNetPotential", "load"]

# Our names -> the package's.
NAMES = {"sevennet-0": "7net-0", "sevennet-l3i5": "7net-l3i5"}


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
    *,
    trust_pickle: bool = False,
    fast_kernels: bool = True,
) -> SevenNetPotential:
    """Load a SevenNet model; float32 unless another precision is asked for.

    All elements are kept: only the first of some forty parameter tensors depends on them.

    Raises
    ------
    ImportError
        If the package is not installed.
    FileNotFoundError
        If there is no such checkpoint file.
    PickleRefusedError
        If it is not trusted.
    ValueError
        If the model does not know an element, or is of an unsupported kind.
    """
    try:
        from sevenn.util import load_checkpoint, pretrained_name_to_path
    except ModuleNotFoundError as error:
        raise ImportError('SevenNet is not installed: pip install "onfly[nequip]"') from error
    path = Path(pretrained_name_to_path(NAMES[name]) if name in NAMES else name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no SevenNet checkpoint at {path}")
    if name not in NAMES:
        require_trust(path, trust_pickle)
    with default_dtype(torch.float32):  # its tables are compared with those of the checkpoint
        model = load_checkpoint(str(path)).build_model()
    potential = SevenNetPotential(name, model, device, dtype or torch.float32, fast_kernels)
    potential.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    unknown = sorted(set(elements or ()) - set(potential.elements))
    if unknown:
        raise ValueError(f"{name} does not know the element(s) {', '.join(unknown)}")
    return potential


class SevenNetPotential(EdgePotential):
    """A SevenNet model.

    Parameters
    ----------
    name
        Name or path it was loaded by.
    model
        A `sevenn.nn.sequential.AtomGraphSequential`.
    device, dtype
        Where and in which precision it is evaluated.
    fast_kernels
        Whether onfly's kernels replace the model's modules (see `fast`).
    """

    family = "sevennet"
    index_kinds = UNDIRECTED
    defaults = Defaults(
        0.2, 3e-4, 3.0, 10.0, "step size measured on rock salt; the rest: paper's for NequIP"
    )

    def __init__(
        self,
        name: str,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        fast_kernels: bool = True,
    ) -> None:
        self.name, self.device, self.dtype = name, device, dtype
        # Trainable as released; denominators, shifts and scales are fixed numbers.
        trainable = [key for key, p in model.named_parameters() if p.requires_grad]
        self.fixed = tuple(key for key, p in model.named_parameters() if not p.requires_grad)
        order = sorted(model.type_map.items(), key=lambda pair: pair[1])
        self.elements = tuple(chemical_symbols[z] for z, _ in order)
        self.has_table = fast_kernels and with_fast_modules(name, model)
        rebind(model, message_gather=message_gather)  # for `torch.func.vmap`
        energy = SevenNetEnergy(model, self.has_table).to(device, dtype)
        self._energy = energy.eval().requires_grad_(False)
        named = dict(self._energy.model.named_parameters())
        self._weights: Params = {key: named[key] for key in trainable}
        self.n_features = self._energy.n_features
        self.cutoff = float(self._energy.model.cutoff)
        self._reference = self._energy.reference().to(device)

    def parameters(self) -> Params:
        """Return fresh copies of the pretrained parameters."""
        return {name: tensor.detach().clone() for name, tensor in self._weights.items()}

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Evaluate `SevenNetEnergy` with the given parameters."""
        named = {f"model.{name}": tensor for name, tensor in params.items()}
        return torch.func.functional_call(self._energy, named, (vectors, data))

    def site_reference(self, data: EdgeBatch) -> Tensor:
        """Return the energies of the isolated atoms, which are not sampled."""
        return self._reference[data.species]
