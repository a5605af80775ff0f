"""Main program of the process that unpickles a MACE model file and writes it as safetensors."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.data import chemical_symbols
from safetensors.torch import load_file, save_file

from onfly.potentials.converted import ConvertedHeader, metadata_of
from onfly.potentials.mace_hyperparameters import build_model, hyperparameters
from onfly.potentials.mace_loading import read_checkpoint

__all__ = ["main", "write_converted"]

TOLERANCE = 1e-10  # of energies and forces, relative to the largest, in double precision


def write_converted(model: Any, path: Path, source: str, source_sha256: str) -> None:
    """Write a MACE module as safetensors with its hyper-parameters, if that is exact.

    Parameters
    ----------
    model
        A `ScaleShiftMACE`.
    path
        The new file; it is there in full or not at all.
    source, source_sha256
        Name and digest of the file that the module came from.

    Raises
    ------
    ValueError
        If the model cannot be rebuilt exactly.
    """
    values = hyperparameters(model)
    elements = tuple(chemical_symbols[z] for z in values["atomic_numbers"])
    header = ConvertedHeader("mace", values, source, source_sha256, elements)
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    kept = {n: t.detach().cpu().clone().contiguous() for n, t in named.items() if t.numel()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(kept, part, metadata_of(header))
        _compare(model, build_model(values, load_file(part)), elements)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _compare(model: Any, rebuilt: Any, elements: tuple[str, ...]) -> None:
    """Raise ValueError unless two modules give the same energies and forces."""
    from onfly.potentials.mace import MACEPotential

    generator = torch.Generator().manual_seed(0)
    # One atom of each element, at distances from bonds to the cutoff, for at most 24 at once.
    for begin in range(0, len(elements), 24):
        symbols = elements[begin : begin + 24]
        points = 1.6 * len(symbols) ** (1 / 3) * torch.rand(len(symbols), 3, generator=generator)
        atoms = Atoms(list(symbols), positions=points.numpy())
        results = []
        for module in (model, rebuilt):
            head = str((getattr(module, "heads", None) or ["default"])[0])
            heads = None if head.lower() == "default" else head
            potential = MACEPotential(
                "", copy.deepcopy(module), dtype=torch.float64, head=heads, fast_kernels=False
            )
            batch = potential.collate([potential.graph(atoms)])
            found = potential.evaluate(potential.parameters(), batch)
            results.append((found.energy, found.forces))
        for one, other in zip(*results, strict=True):
            if (one - other).abs().max() > TOLERANCE * max(1e-3, float(one.abs().max())):
                raise ValueError(
                    "the model that is built from the hyper-parameters gives other energies or "
                    "forces; it cannot be converted"
                )


def main(arguments: list[str]) -> int:
    """Convert file ``arguments[0]`` to ``arguments[1]``; a failure is a line on stderr."""
    path, target = map(Path, arguments)
    try:
        # Whoever calls this program decided that the file may be read.
        model, sha256 = read_checkpoint(path, trusted=True)
        write_converted(model, target, path.name, sha256)
    except Exception as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
