"""Criteria by name: those of other packages, found by their entry points.

A package adds a criterion by an entry point of the group ``onfly.criteria`` whose value is
``module:Class``. The class is called with the options that stand beside its name in the settings,
and gives a `onfly.dynamics.criteria.Criterion`. It asks for labels beside the tolerances of a run;
what is promised and audited are the tolerances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onfly.dynamics.criteria import Assessment, Calibrations, Criterion
from onfly.dynamics.predictor import StepPrediction
from onfly.spec.entry_points import attribute, paths_of

__all__ = ["Watching", "criteria", "named_criterion"]

ENTRY_POINT_GROUP = "onfly.criteria"


def criteria() -> dict[str, str]:
    """Return the criteria of other packages as ``name -> module:Class``."""
    return paths_of(ENTRY_POINT_GROUP)


def named_criterion(kind: str, options: Mapping[str, Any]) -> Criterion:
    """Return a criterion by its name.

    Parameters
    ----------
    kind
        Name of an entry point.
    options
        Keyword arguments of its class.

    Raises
    ------
    ValueError
        If there is no such criterion, it cannot be imported, or it refuses its options.
    TypeError
        If an entry point gives something that is no criterion.
    """
    found = criteria()
    if kind not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        raise ValueError(
            f"unknown criterion {kind!r} ({known}): install a package with an entry point in the "
            f"group {ENTRY_POINT_GROUP}; the tolerances of a run need none"
        )
    cls = attribute(found[kind], f"criterion {kind!r}")
    try:
        made = cls(**options)
    except TypeError as error:
        raise ValueError(f"criterion {kind!r}: {error}") from error
    if not isinstance(made, Criterion):
        raise TypeError(f"{found[kind]} is no criterion: it needs needs_forces_std and assess")
    return made


@dataclass(frozen=True)
class Watching:
    """A criterion that marks and never fires.

    Parameters
    ----------
    criterion
        Any other.
    """

    criterion: Criterion

    @property
    def needs_forces_std(self) -> bool:
        """Whether the prediction must hold the std of the forces."""
        return self.criterion.needs_forces_std

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return the assessment without a call."""
        return replace(self.criterion.assess(prediction, calibration), fires=False)
