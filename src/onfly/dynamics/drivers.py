"""Which driver moves the atoms of a stage: those of this package, and of others by entry point.

A package adds a driver by an entry point of the group ``onfly.drivers``, whose name is the
``driver`` of a stage and whose value is ``module:Class``. The class is called as `MDDriver` is, and
has its attributes ``stages`` and ``end`` and its methods ``locate`` and ``time_at``; to derive from
`StagedDriver` gives all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onfly.spec.entry_points import attribute, paths_of
from onfly.spec.stages import MDStage

__all__ = ["DRIVERS", "ENTRY_POINT_GROUP", "driver_class", "driver_of", "drivers"]

ENTRY_POINT_GROUP = "onfly.drivers"
# the ends of a path are relaxed; its images are moved together, see `onfly.rounds.path`
DRIVERS: dict[str, str] = {
    "md": "onfly.dynamics.driver:MDDriver",
    "relax": "onfly.dynamics.relax:RelaxDriver",
    "neb": "onfly.dynamics.relax:RelaxDriver",
}
_NEEDED = ("step", "locate", "time_at")


def drivers() -> dict[str, str]:
    """Return all drivers as ``name -> module:Class``; those of this package cannot be replaced."""
    return {**paths_of(ENTRY_POINT_GROUP), **DRIVERS}


def driver_class(name: str) -> Any:
    """Return the class of a driver.

    Raises
    ------
    ValueError
        If there is no such driver, or it cannot be imported.
    TypeError
        If an entry point names something that is no driver.
    """
    path = DRIVERS.get(name) or drivers().get(name)
    if path is None:
        raise ValueError(
            f"unknown driver {name!r}: use one of {', '.join(drivers())}, or install a package "
            f"with an entry point in the group {ENTRY_POINT_GROUP}"
        )
    found = attribute(path, f"driver {name!r}")
    if missing := [m for m in _NEEDED if not callable(getattr(found, m, None))]:
        raise TypeError(
            f"{path} is no driver, it has no {', '.join(missing)}: derive it from "
            "onfly.dynamics.driver.StagedDriver"
        )
    return found


def driver_of(stages: Sequence[MDStage]) -> Any:
    """Return the class of the driver that all stages of a programme name.

    Raises
    ------
    ValueError
        If they name several: what one driver keeps in the state, another cannot read.
    """
    names = sorted({stage.driver for stage in stages})
    if len(names) > 1:
        raise ValueError(
            f"the stages of a run have one driver, not {' and '.join(names)}: make two runs, the "
            "second with seed_from"
        )
    return driver_class(names[0])
