"""Numbers with units as people write them: ``"5 kcal/mol"``, ``"100 meV/Å"``, ``"1 kbar"``."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Literal

from onfly.units import EV_PER_BOHR_FORCE, EV_PER_ENERGY_UNIT, GPA, KBAR

__all__ = ["INTERNAL_UNITS", "Quantity", "format_quantity", "known_units", "parse_quantity"]

Quantity = Literal["energy", "energy_per_atom", "force", "stress"]

INTERNAL_UNITS: dict[Quantity, str] = {
    "energy": "eV",
    "energy_per_atom": "eV",
    "force": "eV/Å",
    "stress": "eV/Å³",
}

_EXAMPLES: dict[Quantity, str] = {
    "energy": "50 meV",
    "energy_per_atom": "5 meV",
    "force": "100 meV/Å",
    "stress": "1 kbar",
}

_LENGTHS = {"Å": 1.0, "A": 1.0, "Ang": 1.0, "Angstrom": 1.0, "Bohr": EV_PER_BOHR_FORCE}

_FORCES = {
    f"{energy}/{length}": e * per
    for energy, e in EV_PER_ENERGY_UNIT.items()
    for length, per in _LENGTHS.items()
}

_STRESSES = {"GPa": GPA, "MPa": 1e-3 * GPA, "kbar": KBAR} | {
    f"{energy}/{volume}": e
    for energy, e in (("eV", 1.0), ("meV", 1e-3))
    for volume in ("Å3", "Å^3", "A3", "A^3", "Ang3", "Ang^3")
}

_FACTORS: dict[Quantity, dict[str, float]] = {
    "energy": EV_PER_ENERGY_UNIT,
    "energy_per_atom": EV_PER_ENERGY_UNIT
    | {f"{unit}/atom": factor for unit, factor in EV_PER_ENERGY_UNIT.items()},
    "force": _FORCES,
    "stress": _STRESSES,
}

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


def known_units(quantity: Quantity) -> list[str]:
    """Return the units that are offered for a quantity, one spelling each.

    Parameters
    ----------
    quantity
        One of `INTERNAL_UNITS`.

    Returns
    -------
    list of str
        The unit of the package first, such as eV/Å.

    Examples
    --------
    >>> known_units("force")
    ['eV/Å', 'meV/Å', 'kcal/mol/Å', 'kJ/mol/Å', 'Ha/Å']
    """
    if quantity == "force":
        return [f"{energy}/Å" for energy in EV_PER_ENERGY_UNIT]
    if quantity == "stress":
        return ["kbar", "GPa", "MPa", "eV/Å³"]
    return list(EV_PER_ENERGY_UNIT)


def parse_quantity(text: str, quantity: Quantity) -> float:
    """Return a quantity in the package's units.

    Parameters
    ----------
    text
        A number and a unit. ``Å`` may be written ``A``, ``Ang`` or ``Angstrom``.
    quantity
        What is given: it decides which units are possible.

    Returns
    -------
    float
        eV, eV (per atom), eV/Å or eV/Å³.

    Raises
    ------
    ValueError
        If the unit is missing, or is none of the quantity; the message lists those there are.

    Examples
    --------
    >>> parse_quantity("100 meV/Å", "force")
    0.1
    """
    # NFKC makes the Ångström sign the letter Å, and ³ a 3
    plain = unicodedata.normalize("NFKC", text).strip()
    match = re.fullmatch(rf"({_NUMBER})\s*(.*)", plain)
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit, such as '{_EXAMPLES[quantity]}'")
    unit = match[2].replace(" ", "")
    name = quantity.replace("_", " ")
    if not unit:
        raise ValueError(
            f"{text!r} has no unit: write for example '{plain} {known_units(quantity)[0]}' "
            f"(units of {name}: {', '.join(known_units(quantity))})"
        )
    factors = _FACTORS[quantity]
    if unit not in factors:
        raise ValueError(
            f"unknown unit {match[2]!r} of {name}: use one of {', '.join(known_units(quantity))}"
        )
    value = float(match[1]) * factors[unit]
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def format_quantity(value: float, quantity: Quantity) -> str:
    """Return a quantity as text that `parse_quantity` reads back to the same number.

    Parameters
    ----------
    value
        eV, eV (per atom), eV/Å or eV/Å³.
    quantity
        Which of them.

    Returns
    -------
    str
        Number and unit.

    Examples
    --------
    >>> format_quantity(0.05, "energy")
    '0.05 eV'
    """
    return f"{value!r} {INTERNAL_UNITS[quantity]}"
