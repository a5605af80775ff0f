"""Importing mace without what its import does to the whole process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["UNSAFE_SWITCH", "environment_kept", "import_mace"]

UNSAFE_SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Undo mace's switching off of torch's protection against unpickling."""
    before = os.environ.get(UNSAFE_SWITCH)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(UNSAFE_SWITCH, None)
        else:
            os.environ[UNSAFE_SWITCH] = before


def import_mace() -> Any:
    """Import mace and return `mace.modules`.

    The process's environment is left as it was: mace allows torch to unpickle anything from
    anywhere, for the whole process.

    Raises
    ------
    ImportError
        If mace is not installed.
    """
    with environment_kept():
        try:
            import mace.modules as modules
        except ModuleNotFoundError as error:
            raise ImportError('MACE is not installed: pip install "onfly[mace]"') from error
    return modules
