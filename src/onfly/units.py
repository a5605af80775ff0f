"""The one border for units and signs: inside the package only eV, eV/Å, eV/Å³, fs and K occur.

Stress is positive under tension, as in ASE. VASP, and the task documents of atomate2's VASP, ASE
and force-field makers, give kbar with the opposite sign.

The factors are plain numbers, equal to those of `ase.units` (CODATA 2014), so that reading a
configuration imports neither ASE nor numpy; a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "EV_PER_BOHR_FORCE",
    "EV_PER_ENERGY_UNIT",
    "EV_PER_KCAL_MOL",
    "GPA",
    "KBAR",
    "EnergyUnit",
    "energy_to_ev",
    "stress_from_task",
    "stress_to_kbar",
]

EnergyUnit = Literal["eV", "meV", "kcal/mol", "kJ/mol", "Ha"]

EV_PER_KCAL_MOL: float = 0.04336410390059322
GPA: float = 0.006241509125883258
KBAR: float = 0.1 * GPA
# 1 eV/Bohr in eV/Å
EV_PER_BOHR_FORCE: float = 1.0 / 0.5291772105638411

EV_PER_ENERGY_UNIT: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": EV_PER_KCAL_MOL,
    "kJ/mol": 0.010364269574711572,
    "Ha": 27.211386024367243,
}


def energy_to_ev(value: float, unit: str) -> float:
    """Convert an energy (or, with the same factor, an energy per length) to eV.

    Parameters
    ----------
    value, unit
        Number and unit.

    Returns
    -------
    float
        eV, or eV per the same length.

    Raises
    ------
    ValueError
        If the unit is not one of eV, meV, kcal/mol, kJ/mol, Ha.

    Examples
    --------
    >>> energy_to_ev(50, "meV")
    0.05
    """
    if unit not in EV_PER_ENERGY_UNIT:
        raise ValueError(
            f"unknown energy unit {unit!r}: use one of {', '.join(EV_PER_ENERGY_UNIT)}"
        )
    return value * EV_PER_ENERGY_UNIT[unit]


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
        eV/Å³, shape (3, 3).

    Raises
    ------
    ValueError
        If the stress has another shape.

    Examples
    --------
    >>> stress_from_task([[-10, 0, 0], [0, -10, 0], [0, 0, -10]], "kbar", sign=-1).round(5)[0]
    array([ 0.00624, -0.     , -0.     ])
    """
    import numpy as np

    array = np.asarray(stress, dtype=float)
    if array.shape != (3, 3):
        raise ValueError(f"stress has shape {array.shape}, expected (3, 3)")
    return sign * array * (KBAR if unit == "kbar" else GPA)


def stress_to_kbar(stress: np.ndarray) -> np.ndarray:
    """Convert eV/Å³, tension positive, to VASP's kbar, compression positive.

    Parameters
    ----------
    stress
        eV/Å³, any shape.

    Returns
    -------
    numpy.ndarray
        kbar, the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> stress_to_kbar(np.array([0.00624])).round(2)
    array([-10.])
    """
    import numpy as np

    return -np.asarray(stress) / KBAR
