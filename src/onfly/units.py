"""The one border for units and signs: inside the package only eV, eV/Å, eV/Å³, fs and K occur.

Stress is positive under tension, as in ASE. VASP, and the task documents of atomate2's VASP, ASE
and force-field makers, give kbar with the opposite sign.
"""

from __future__ import annotations

from typing import Literal

import ase.units
import numpy as np

__all__ = [
    "EV_PER_KCAL_MOL",
    "GPA",
    "KBAR",
    "EnergyUnit",
    "energy_to_ev",
    "stress_from_task",
    "stress_to_kbar",
]

EnergyUnit = Literal["eV", "meV", "kcal/mol", "kJ/mol", "Ha"]

EV_PER_KCAL_MOL: float = ase.units.kcal / ase.units.mol
GPA: float = ase.units.GPa
KBAR: float = 0.1 * ase.units.GPa

_EV_PER: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": EV_PER_KCAL_MOL,
    "kJ/mol": ase.units.kJ / ase.units.mol,
    "Ha": ase.units.Hartree,
}


def energy_to_ev(value: float, unit: str) -> float:
    """Convert an energy (or, with the same factor, an energy per length) to eV.

    Raises
    ------
    ValueError
        If the unit is not one of eV, meV, kcal/mol, kJ/mol, Ha.
    """
    if unit not in _EV_PER:
        raise ValueError(f"unknown energy unit {unit!r}: use one of {', '.join(_EV_PER)}")
    return value * _EV_PER[unit]


def stress_from_task(stress: object, unit: Literal["kbar", "GPa"], sign: int) -> np.ndarray:
    """Convert a task document's stress to eV/Å³, positive under tension.

    Parameters
    ----------
    stress
        3×3 tensor.
    unit
        Unit of the document.
    sign
        +1 if the document is positive under tension (Abinit), -1 if it is positive under
        compression (VASP, CP2K, atomate2's ASE and force-field documents).

    Returns
    -------
    numpy.ndarray
        Shape (3, 3).
    """
    array = np.asarray(stress, dtype=float)
    if array.shape != (3, 3):
        raise ValueError(f"stress has shape {array.shape}, expected (3, 3)")
    return sign * array * (KBAR if unit == "kbar" else GPA)


def stress_to_kbar(stress: np.ndarray) -> np.ndarray:
    """Convert eV/Å³, tension positive, to VASP's kbar, compression positive."""
    return -np.asarray(stress) / KBAR
