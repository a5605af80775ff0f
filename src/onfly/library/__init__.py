"""The library of fine-tuned models: find them, judge them, use them, check and repair them."""

from onfly.library.energy_offset import EnergyScaleError
from onfly.library.fit import ModelMismatchError, ModelNotFoundError, check_fit
from onfly.library.models import ModelLibrary
from onfly.library.repair import add_models, repair_model, restore_labels, verify_models
from onfly.library.summary import model_summary
from onfly.library.trust import UntrustedFileError

__all__ = [
    "EnergyScaleError",
    "ModelLibrary",
    "ModelMismatchError",
    "ModelNotFoundError",
    "UntrustedFileError",
    "add_models",
    "check_fit",
    "model_summary",
    "repair_model",
    "restore_labels",
    "verify_models",
]
