"""A set of MACE parameters as a model file of mace's own, for ASE and for LAMMPS.

The files need mace (or LAMMPS with its `mace` pair style) to be read, and nothing of this package.
They are pickled modules and TorchScript archives: we write such files, and never read downloads.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from onfly.potentials.base import Params
from onfly.potentials.converted import read_header
from onfly.potentials.families import TRUST
from onfly.potentials.foundation import parse_foundation
from onfly.potentials.mace_energy import MACEEnergy
from onfly.potentials.mace_loading import checkpoint_path, read_model
from onfly.potentials.mace_package import environment_kept, import_mace
from onfly.potentials.mace_pruning import known_elements, prune_elements
from onfly.potentials.precision import default_dtype

__all__ = ["lammps_file", "load_template", "model_file", "with_parameters"]


def load_template(name: Any, elements: Sequence[str], sha256: str | None = None) -> nn.Module:
    """Return the module of a foundation model, reduced to some elements, as mace itself has it.

    Parameters
    ----------
    name
        The foundation model, as of `load_foundation`.
    elements
        Chemical symbols to keep.
    sha256
        Digest that its file must have, or the file that it was converted from; None takes any.

    Raises
    ------
    ValueError
        If the model is of another family, or the file is another one.
    """
    found = parse_foundation(name)
    if found.family != "mace":
        raise ValueError(
            f"{found.source} is not a MACE model: only those can be written as files for "
            "mace.calculators.MACECalculator and LAMMPS. Export without a format, and use "
            "onfly.calculators.load_calculator(path=FOLDER)."
        )
    path = checkpoint_path(found.source)
    model, digest = read_model(path, found.options.get(TRUST) is True)
    header = read_header(path)
    if sha256 not in (None, digest, header and header.source_sha256):
        raise ValueError(
            f"{found.source} is another foundation model than the one that was fine-tuned: its "
            f"sha256 is {digest}, recorded was {sha256}"
        )
    if set(elements) != set(known_elements(model)):
        model, _ = prune_elements(model, elements)
    return model


def with_parameters(
    template: Any,
    params: Params,
    energy_shift: float | torch.Tensor = 0.0,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Return a copy of a module with other parameters and shifted energies of the atoms.

    Parameters
    ----------
    template
        From `load_template`.
    params
        Sampled parameters by name; those that are not sampled keep their values.
    energy_shift
        Added to the energies of the isolated atoms, in eV: a number for all elements, or one for
        each of the template's, shape (n_elements,).
    dtype
        Precision of the copy; None keeps the template's.

    Raises
    ------
    ValueError
        If a parameter is not one of the module's, or one of those that are sampled is missing.
    """
    model = copy.deepcopy(template)
    head = MACEEnergy(model)
    own = dict(model.named_parameters())
    unknown = sorted(params.keys() - own.keys())
    missing = sorted(own.keys() - params.keys() - set(head.unreached()))
    if unknown or missing:
        raise ValueError(
            "the weights do not belong to this MACE model: "
            + "; ".join(
                f"{what} {', '.join(names[:5])}"
                for what, names in (("unknown are", unknown), ("missing are", missing))
                if names
            )
        )
    model = model.to(dtype or next(model.parameters()).dtype)
    own = dict(model.named_parameters())
    for name, value in params.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{name} has the shape {tuple(value.shape)}, the MACE model has "
                f"{tuple(own[name].shape)}: was the run made with other elements?"
            )
        own[name].data.copy_(value)
    # added in double precision: the shift may be thousands of eV
    block = model.atomic_energies_fn
    energies = block.atomic_energies.double().clone()
    if energies.dim() > 1 and len(energies) > 1:
        energies[head.head] += energy_shift  # the heads that were not fine-tuned keep theirs
    else:
        energies += energy_shift
    block.atomic_energies = energies.to(block.atomic_energies.dtype)
    return model.eval()


def model_file(model: nn.Module) -> bytes:
    """Return the content of the file that ``MACECalculator(model_paths=...)`` reads."""
    buffer = io.BytesIO()
    torch.save(model.cpu(), buffer)
    return buffer.getvalue()


def lammps_file(model: nn.Module) -> bytes:
    """Return the content of the TorchScript file for the ``mace`` pair style of LAMMPS.

    The conversion is that of ``mace_create_lammps_model``, in the precision of the model.
    """
    from e3nn.util import jit

    import_mace()
    with environment_kept():
        from mace.calculators.lammps_mace import LAMMPS_MACE

        model = copy.deepcopy(model).cpu()
        heads = list(getattr(model, "heads", None) or [None])
        wrapped = LAMMPS_MACE(model, head=heads[MACEEnergy(model).head])
        with default_dtype(next(model.parameters()).dtype), warnings.catch_warnings():
            # about annotations in mace's own code
            warnings.filterwarnings("ignore", message="The TorchScript type system")
            script = jit.compile(wrapped)
    return script.save_to_buffer()
