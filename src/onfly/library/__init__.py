"""The library of fine-tuned models: find them, judge them, use them."""

from onfly.library.fit import ModelMismatchError, check_fit
from onfly.library.models import ModelLibrary, ModelNotFoundError

__all__ = ["ModelLibrary", "ModelMismatchError", "ModelNotFoundError", "check_fit"]
