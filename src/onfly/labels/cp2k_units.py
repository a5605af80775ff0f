"""The unit in which CP2K printed a stress; task documents hold the bare numbers.

CP2K prints GPa up to version 2024.3 and bar from 2025.1 on, where the keyword STRESS_UNIT of
FORCE_EVAL/PRINT/STRESS_TENSOR chooses another one (CP2K pull requests 3775 and 3778).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from onfly.labels.documents import pick
from onfly.labels.errors import LabelError

__all__ = ["cp2k_version", "input_value", "stress_scale"]

_GPA = {"pa": 1e-9, "bar": 1e-4, "atm": 1.01325e-4, "mpa": 1e-3, "kbar": 0.1, "gpa": 1.0}
_BAR_SINCE = (2025, 1)
# pymatgen takes these for Hartree and Hartree/Bohr whatever was printed
_ATOMIC_ONLY = (
    ("FORCE_EVAL/PRINT/PROGRAM_RUN_INFO", "ENERGY_UNIT", ("hartree",)),
    ("FORCE_EVAL/PRINT/FORCES", "FORCE_UNIT", ("hartree/bohr", "hartree*bohr^-1")),
)


def stress_scale(document: Any, directory: str | None = None) -> float:
    """Return the unit of the stress of a CP2K task document in GPa.

    Raises
    ------
    LabelError
        If it cannot be told, or if energies or forces were printed in other than atomic units.
    """
    source = _input(pick(document, "calcs_reversed", 0, "input", "cp2k_input"))
    for section, keyword, known in _ATOMIC_ONLY:
        unit = _value(source, section, keyword)
        if unit is not None and unit.lower() not in known:
            raise LabelError(
                f"CP2K printed in {unit}, which pymatgen reads as atomic units",
                directory,
                f"leave {keyword} out of {section}",
            )
    unit = _value(source, "FORCE_EVAL/PRINT/STRESS_TENSOR", "STRESS_UNIT")
    if unit is None:
        version = cp2k_version(document)
        if version is None:
            raise LabelError(
                "the unit of CP2K's stress is unknown: the task document holds no version of CP2K",
                directory,
                "set STRESS_UNIT in FORCE_EVAL/PRINT/STRESS_TENSOR",
            )
        unit = "bar" if version >= _BAR_SINCE else "GPa"
    if unit.lower() not in _GPA:
        raise LabelError(
            f"CP2K's stress has the unknown unit {unit!r}", directory, "set STRESS_UNIT to GPa"
        )
    return _GPA[unit.lower()]


def cp2k_version(document: Any) -> tuple[int, int] | None:
    """Return the version of CP2K in a task document, or None if it does not hold it."""
    text = str(pick(document, "calcs_reversed", 0, "cp2k_version", default=""))
    found = re.search(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def input_value(document: Any, section: str, keyword: str) -> str | None:
    """Return the first value of a keyword of CP2K's input, or None if it is not set."""
    source = _input(pick(document, "calcs_reversed", 0, "input", "cp2k_input"))
    return _value(source, section, keyword)


def _input(source: Any) -> Any:
    if not isinstance(source, Mapping):
        return source
    from pymatgen.io.cp2k.inputs import Cp2kInput

    return Cp2kInput.from_dict(dict(source))


def _value(source: Any, section: str, keyword: str) -> str | None:
    if source is None or not source.check(section):
        return None
    found = source.by_path(section).get(keyword)
    return None if found is None else str(found.values[0]).strip("[]")
