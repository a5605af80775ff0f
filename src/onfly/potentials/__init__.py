"""Foundation potentials: one file a family, behind one protocol."""

from onfly.potentials.base import Batch, Defaults, Params, Potential, Prediction
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
    "MemberPrediction",
    "Params",
    "Potential",
    "Prediction",
    "evaluate_stacked",
    "load_foundation",
    "stack_parameters",
]
