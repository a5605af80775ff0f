"""Our own kernels for modules of other packages: same parameters, same results, fewer operations.

They are on by default. ``ONFLY_FAST_KERNELS=0`` in the environment, read when a model is loaded,
keeps the packages' own modules; `load_foundation(..., fast_kernels=...)` decides for one model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

__all__ = ["VARIABLE", "fast_kernels_wanted", "report_replacements"]

VARIABLE = "ONFLY_FAST_KERNELS"
_OFF = ("0", "false", "no", "off")
_log = logging.getLogger(__name__)


def fast_kernels_wanted(wanted: bool | None = None) -> bool:
    """Say whether a model that is loaded now gets our kernels.

    Parameters
    ----------
    wanted
        What the caller decided; None leaves it to the variable ``ONFLY_FAST_KERNELS``.
    """
    if wanted is not None:
        return wanted
    return os.environ.get(VARIABLE, "1").strip().lower() not in _OFF


def report_replacements(model: str, replaced: int, kept: Sequence[str]) -> None:
    """Log what was replaced in a model, and warn of what could not be.

    Parameters
    ----------
    model
        Name of the model.
    replaced
        How many of its modules were replaced.
    kept
        A line for each module of a replaceable kind that stays the package's own, with the reason.
    """
    _log.info(
        "%s: %d modules are evaluated by onfly's kernels (%s=0 switches them off)",
        model,
        replaced,
        VARIABLE,
    )
    if kept:
        _log.warning(
            "%s: %d modules have a form that onfly's kernels do not know, and stay the package's "
            "own (same results, slower): %s",
            model,
            len(kept),
            "; ".join(kept),
        )
