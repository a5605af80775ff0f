"""Foundation potentials: one file a family, behind one protocol."""

from onfly.potentials.base import Batch, Defaults, Params, Potential, Prediction
from onfly.potentials.registry import load_foundation

__all__ = ["Batch", "Defaults", "Params", "Potential", "Prediction", "load_foundation"]
