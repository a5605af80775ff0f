"""What a new run takes from the library is looked up once, and recorded in its settings."""

from __future__ import annotations

import logging

from onfly.library.calibration_prior import learned_prior
from onfly.library.models import ModelLibrary
from onfly.settings import OnflySettings
from onfly.spec import RunSpec

__all__ = ["keep_resolved", "resolve"]

logger = logging.getLogger(__name__)


def resolve(spec: RunSpec, settings: OnflySettings | None = None) -> RunSpec:
    """Return the settings with what they leave to the library filled in.

    ``calibration: library`` becomes shape and rate; where too few runs are there to learn from, it
    stays open, and the run takes the default of its foundation model.

    Parameters
    ----------
    spec
        As the user wrote it.
    settings
        Of the machine; None reads them.
    """
    calibration = spec.calibration
    if calibration.prior != "library" or calibration.shape is not None:
        return spec
    library = ModelLibrary.from_settings(settings)
    try:
        found = learned_prior(library, spec.foundation.source, spec.posterior.kind)
    except ValueError as error:
        logger.warning("calibration: library: %s; the foundation model's default is taken", error)
        return spec
    logger.info(
        "calibration prior (%.3g, %.3g) from %d runs", found.shape, found.rate, found.n_runs
    )
    changed = calibration.evolve(shape=found.shape, rate=found.rate)
    return spec.evolve(calibration=changed)


def keep_resolved(new: RunSpec, old: RunSpec) -> RunSpec:
    """Return other settings of a run with what was looked up when the run was made."""
    was = old.calibration
    if new.calibration.prior == was.prior == "library" and new.calibration.shape is None:
        changed = new.calibration.evolve(shape=was.shape, rate=was.rate)
        return new.evolve(calibration=changed)
    return new
