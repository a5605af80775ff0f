"""What is wrong with the INCAR and the k-points of a label, before VASP is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onfly.labels.convergence import NOT_SELF_CONSISTENT_ALGORITHMS

__all__ = ["incar_problems", "mesh_problems"]

# tag: smallest sensible value; these must be numbers
_NUMBERS: dict[str, float] = {
    "ENCUT": 1.0,
    "ENAUG": 1.0,
    "EDIFF": 1e-12,
    "SIGMA": 0.0,
    "NELM": 2.0,
    "NELMIN": 0.0,
    "NBANDS": 1.0,
    "NELECT": 0.0,
    "KSPACING": 1e-3,
    "AEXX": 0.0,
    "HFSCREEN": 0.0,
    "ISMEAR": -15.0,
    "ISPIN": 1.0,
    "ISIF": 0.0,
    "IBRION": -1.0,
    "NSW": 0.0,
    "ICHARG": 0.0,
    "ISTART": 0.0,
    "ISYM": -1.0,
}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def incar_problems(incar: Mapping[str, Any]) -> list[str]:
    """Return what keeps these tags from giving a label, one sentence each."""
    tags = {str(key).upper(): value for key, value in incar.items() if value is not None}
    problems = []
    for tag, smallest in _NUMBERS.items():
        if tag not in tags or (tag in ("NELM", "EDIFF") and isinstance(tags[tag], bool)):
            continue
        number = _number(tags[tag])
        if number is None or number < smallest:
            problems.append(f"INCAR: {tag} = {tags[tag]!r} is no number of at least {smallest:g}")
    if (_number(tags.get("NSW", 0)) or 0) > 0:
        problems.append(
            f"INCAR: NSW = {tags['NSW']} makes a relaxation or dynamics: a label is a single "
            "point, set NSW to 0 (a static maker)"
        )
    elif (_number(tags.get("IBRION", -1)) or -1) >= 5:
        problems.append(
            f"INCAR: IBRION = {tags['IBRION']} makes a phonon calculation: set it to -1"
        )
    if (_number(tags.get("ICHARG", 0)) or 0) >= 10:
        problems.append(
            f"INCAR: ICHARG = {tags['ICHARG']} keeps the density of another calculation: a label "
            "must be self-consistent, leave ICHARG out"
        )
    if str(tags.get("ALGO", "")).strip().lower() in NOT_SELF_CONSISTENT_ALGORITHMS:
        problems.append(f"INCAR: ALGO = {tags['ALGO']} is not self-consistent: set it to Normal")
    return problems


def mesh_problems(mesh: Any) -> list[str]:
    """Return what is wrong with the numbers of k-points in three directions."""
    try:
        numbers = [float(n) for n in mesh]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or any(not math.isfinite(n) or n < 1 or n % 1 for n in numbers):
        return [f"k-points: the mesh {mesh!r} is not three whole numbers of at least 1"]
    return []
