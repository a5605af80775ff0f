"""A more careful SCF for a second attempt, on the same potential energy surface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Maker
from pymatgen.io.vasp.sets import VaspInputSet

from onfly.labels.ase import AseLabelMaker

__all__ = ["careful", "careful_incar"]

# linear mixing, which VASP's manual recommends for densities that slosh
_MIXING: dict[str, Any] = {"AMIX": 0.1, "BMIX": 1e-4, "AMIX_MAG": 0.4, "BMIX_MAG": 1e-4}

_KEYWORDS: dict[str, dict[str, Any]] = {
    "tblite.ase.TBLite": {"max_iterations": 2000, "mixer_damping": 0.05},
    "onfly.labels.pyscf_calculator.PySCF": {"max_cycle": 400},
}


def _tag(generator: VaspInputSet, tag: str, default: Any) -> Any:
    """Return a tag as the generator will write it, as far as that is known without a structure."""
    for source in (generator.user_incar_settings, generator.incar_updates):
        if tag in source:
            return source[tag]
    return default


def careful_incar(maker: BaseVaspMaker) -> dict[str, Any]:
    """Return the INCAR tags of the second attempt.

    Another algorithm than the first one's, slow mixing, more steps, no old wave function. None of
    these tags is part of the potential energy surface.
    """
    generator = maker.input_set_generator
    algorithm = str(_tag(generator, "ALGO", "Normal")).lower()
    hybrid = bool(_tag(generator, "LHFCALC", False))
    if algorithm in ("all", "a"):
        changes = {"ALGO": "Damped", "TIME": 0.4} if hybrid else {"ALGO": "Normal"}
    else:
        changes = {"ALGO": "All"}
    steps = int(_tag(generator, "NELM", 60))
    return changes | _MIXING | {"NELM": max(2 * steps, 200), "NELMIN": 8, "ISTART": 0, "ICHARG": 2}


def careful(maker: Maker) -> Maker | None:
    """Return a maker with a more careful SCF and the same surface, or None if none is known.

    Parameters
    ----------
    maker
        A VASP maker of atomate2 (or `VaspLabelMaker`) or an `AseLabelMaker`.
    """
    if isinstance(maker, BaseVaspMaker):
        generator = maker.input_set_generator
        fields = generator.as_dict()
        fields["user_incar_settings"] = generator.user_incar_settings | careful_incar(maker)
        changed: dict[str, Any] = {"input_set_generator": type(generator).from_dict(fields)}
        if hasattr(maker, "reuse_wavecar"):
            changed |= {"reuse_wavecar": False, "retry": False}
        return replace(maker, **changed)
    if isinstance(maker, AseLabelMaker) and maker.calculator in _KEYWORDS:
        keywords = maker.calculator_kwargs | _KEYWORDS[maker.calculator]
        if keywords == maker.calculator_kwargs:
            return None
        return replace(maker, calculator_kwargs=keywords)
    return None
