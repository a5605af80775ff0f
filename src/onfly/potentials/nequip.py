"""NequIP models packaged by ``nequip-package build`` (files ending in ``.nequip.zip``).

A package brings the code it was built with, and is read only if the user says so (see `trust`).
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
from onfly.potentials.edges import EdgeBatch, EdgePotential
from onfly.potentials.nequip_energy import NequIPEnergy
from onfly.potentials.precision import default_dtype
from onfly.potentials.rebinding import rebind, scatter_sum
from onfly.potentials.trust import require_trust

__all__ = ["NequIPPotential", "load"]


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
    *,
    trust_pickle: bool = False,
) -> NequIPPotential:
    """Load a packaged NequIP model in the precision it was trained in, with all its elements.

    Raises
    ------
    ImportError
        If nequip is not installed.
    FileNotFoundError
        If there is no such file.
    PickleRefusedError
        If it is not trusted.
    ValueError
        If the model does not know an element, is of an unsupported kind or another precision.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no NequIP package at {path}")
    require_trust(path, trust_pickle)
    try:
        from nequip.model import ModelFromPackage
        from nequip.utils.global_state import set_global_state
    except ModuleNotFoundError as error:
        raise ImportError('NequIP is not installed: pip install "onfly[nequip]"') from error
    with default_dtype(torch.get_default_dtype()):  # nequip makes it float64 for the process
        set_global_state()
        model: Any = ModelFromPackage(str(path.resolve()))
    if hasattr(model, "keys"):
        if len(model) != 1:
            raise ValueError(f"{path} holds {len(model)} models, expected one")
        model = next(iter(model.values()))
    potential = NequIPPotential(name, model, device, dtype)
    potential.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    unknown = sorted(set(elements or ()) - set(potential.elements))
    if unknown:
        raise ValueError(f"{path} does not know the element(s) {', '.join(unknown)}")
    return potential


class NequIPPotential(EdgePotential):
    """A NequIP model.

    Parameters
    ----------
    name
        Path it was loaded by.
    model
        A `nequip.nn.GraphModel`.
    device, dtype
        Where it is evaluated; its precision is fixed at training.
    """

    family = "nequip"
    defaults = Defaults(0.2, 3e-5, 3.0, 10.0, "paper, for NequIP trained on SPICE")

    def __init__(
        self, name: str, model: Any, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.name, self.device, self.dtype = name, device, model.model_dtype
        if dtype not in (None, self.dtype):
            raise ValueError(f"{name} can only be evaluated in {self.dtype}, not in {dtype}")
        self.elements = tuple(model.type_names)
        if unknown := sorted(set(self.elements) - set(chemical_symbols)):
            raise ValueError(f"{name}: the types {', '.join(unknown)} are not chemical symbols")
        named = dict(model.named_parameters())
        self._names = tuple(key for key, p in named.items() if p.requires_grad)
        self.fixed = tuple(key for key, p in named.items() if not p.requires_grad)
        self.cutoff = float(model.metadata["r_max"])
        rebind(model, scatter=scatter_sum)  # for `torch.func.vmap`
        self._energy = NequIPEnergy(model).to(device).eval().requires_grad_(False)
        self.n_features = self._energy.n_features

    def parameters(self) -> Params:
        """Return fresh copies of the pretrained parameters."""
        return {
            name: self._energy.model.get_parameter(name).detach().clone() for name in self._names
        }

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Evaluate `NequIPEnergy` with the given parameters."""
        named = {f"model.{name}": tensor for name, tensor in params.items()}
        return torch.func.functional_call(
            self._energy, named, (vectors, data.species, data.center, data.neighbor)
        )
