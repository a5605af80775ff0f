"""What a run does with its labeller before the first label."""

from __future__ import annotations

from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.labels.ase import AseLabelMaker
from onfly.labels.input_hash import hash_settings, settings_of

__all__ = ["maker_for_run", "maker_hash"]


def maker_for_run(maker: Maker, structure: Structure | Molecule) -> Maker:
    """Return the maker with what must not change along a run fixed to its first structure.

    For `VaspLabelMaker` these are the k-mesh and the magnetic moments; other makers come back
    unchanged.
    """
    fix = getattr(maker, "for_run", None)
    return maker if fix is None else fix(structure)


def maker_hash(maker: Maker) -> str | None:
    """Return the input hash that labels of this maker will carry, if it is known beforehand.

    Returns
    -------
    str or None
        None for makers other than `AseLabelMaker`: then the run's first label tells.
    """
    if not isinstance(maker, AseLabelMaker):
        return None
    document = {"calculator": maker.calculator, "calculator_kwargs": maker.calculator_kwargs}
    settings = settings_of(document, "ase")
    return None if settings is None else hash_settings(settings)
