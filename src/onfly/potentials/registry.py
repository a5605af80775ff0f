"""The one function that loads a foundation potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from onfly.potentials.base import Potential
from onfly.potentials.families import families
from onfly.potentials.fast import fast_kernels_wanted
from onfly.potentials.foundation import parse_foundation

__all__ = ["load_foundation"]


def load_foundation(
    foundation: Any,
    elements: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    *,
    fast_kernels: bool | None = None,
) -> Potential:
    """Load a foundation potential by name, from a file, or as a table says.

    Parameters
    ----------
    foundation
        ``"chgnet-0.3.0"``, ``"chgnet-r2scan"``, ``"mace-mp-medium"``, ``"sevennet-0"`` …, a class
        model (``"class:perovskites@3"``), the path of a model file, or ``family``, ``source`` and
        ``options`` as a mapping or as attributes of an object, such as
        ``{"family": "mace", "source": "mh.model", "options": {"head": "pbe"}}``.
    elements
        Chemical symbols of the system. Families that can be pruned keep only these, which changes
        no prediction; None keeps all.
    device
        Torch device.
    dtype
        Precision; None takes the family's own.
    fast_kernels
        Whether onfly's kernels replace modules of the family's package, for families where they
        can; None reads ``ONFLY_FAST_KERNELS``. Results agree to rounding.

    Raises
    ------
    ValueError
        If no family knows the name (the closest known one is given), an option is unknown, or the
        model does not know an element.
    PickleRefusedError
        If the file is a pickle, which nobody said may be read: see `trust`. A ValueError.
    FileNotFoundError
        If the name is a path and there is no such file.
    ImportError
        If the family's package is not installed; the message names the extra to install.

    Examples
    --------
    >>> potential = load_foundation("toy", elements=["Na", "Cl"])
    >>> potential.elements
    ('Na', 'Cl')
    """
    found = parse_foundation(foundation)
    family = families()[found.family]
    module_name, _, function = family.loader.partition(":")
    loader: Callable[..., Potential] = getattr(import_module(module_name), function or "load")
    options = dict(found.options)
    if family.kernels:
        options["fast_kernels"] = fast_kernels_wanted(fast_kernels)
    source = found.source if family.knows(found.source) else str(Path(found.source).expanduser())
    potential = loader(
        source, elements=elements, device=torch.device(device), dtype=dtype, **options
    )
    potential.name = found.source
    return potential
