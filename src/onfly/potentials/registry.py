"""Names of foundation potentials, and the one function that loads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import torch

from onfly.potentials.base import Potential

__all__ = ["FAMILIES", "load_foundation"]

# family -> module; each module has `matches(name) -> bool` and
# `load(name, elements, device, dtype) -> Potential`, and imports its package only in `load`.
FAMILIES: dict[str, str] = {
    "chgnet": "onfly.potentials.chgnet",
    "sevennet": "onfly.potentials.sevennet",
    "nequip": "onfly.potentials.nequip",
    "equiformer_v2": "onfly.potentials.equiformer",
    "toy": "onfly.potentials.toy",
    "mace": "onfly.potentials.mace",
}
ENTRY_POINT_GROUP = "onfly.potentials"


def _families() -> dict[str, str]:
    extra = {ep.name: ep.value for ep in entry_points(group=ENTRY_POINT_GROUP)}
    return {**extra, **FAMILIES}


def load_foundation(
    name: str | Path,
    elements: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Potential:
    """Load a foundation potential by name or from a file.

    Parameters
    ----------
    name
        ``"chgnet-0.3.0"``, ``"chgnet-r2scan"``, ``"mace-mp-medium"``, ``"sevennet-0"`` …, or the
        path of a model file.
    elements
        Chemical symbols of the system. Families that can be pruned keep only these, which changes
        no prediction; None keeps all.
    device
        Torch device.
    dtype
        Precision; None takes the family's own.

    Raises
    ------
    ValueError
        If no family knows the name.
    FileNotFoundError
        If the name is a path and there is no such file.
    ImportError
        If the family's package is not installed; the message names the extra to install.
    """
    text = str(name)
    for module_name in _families().values():
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name == module_name:
                continue
            raise
        loader: Callable[..., Potential] = module.load
        if module.matches(text):
            return loader(text, elements=elements, device=torch.device(device), dtype=dtype)
    if "/" in text or Path(text).suffix:
        raise FileNotFoundError(f"no model file at {text}")
    raise ValueError(
        f"unknown foundation model {text!r}: use a model file or a name such as chgnet-0.3.0, "
        "chgnet-r2scan, mace-mp-medium, sevennet-0"
    )
