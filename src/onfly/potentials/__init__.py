"""Foundation potentials: one file a family, behind one protocol.

Names are imported when they are first used, so that a foundation can be checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onfly.potentials.base import Batch, Defaults, Params, Potential, Prediction
    from onfly.potentials.families import Family
    from onfly.potentials.foundation import (
        Foundation,
        FoundationDescription,
        check_foundation,
        describe_foundation,
        parse_foundation,
    )
    from onfly.potentials.registry import load_foundation
    from onfly.potentials.stacked import (
        EnsembleEvaluator,
        MemberPrediction,
        evaluate_stacked,
        stack_parameters,
    )

__all__ = [
    "Batch",
    "Defaults",
    "EnsembleEvaluator",
    "Family",
    "Foundation",
    "FoundationDescription",
    "MemberPrediction",
    "Params",
    "Potential",
    "Prediction",
    "check_foundation",
    "describe_foundation",
    "evaluate_stacked",
    "load_foundation",
    "parse_foundation",
    "stack_parameters",
]

_MODULES = {
    "base": ("Batch", "Defaults", "Params", "Potential", "Prediction"),
    "families": ("Family",),
    "foundation": (
        "Foundation",
        "FoundationDescription",
        "check_foundation",
        "describe_foundation",
        "parse_foundation",
    ),
    "registry": ("load_foundation",),
    "stacked": ("EnsembleEvaluator", "MemberPrediction", "evaluate_stacked", "stack_parameters"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
