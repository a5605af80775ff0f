"""Calibration update: what the newest label says about the ensemble's standard deviation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from jobflow import Maker

from onfly.jobs.base import otf_job
from onfly.jobs.context import calibration_doc, evolve, open_run
from onfly.schemas import RunDoc

__all__ = ["CalibrationMaker", "calibrate_run"]

logger = logging.getLogger(__name__)


def calibrate_run(run: RunDoc, audit_update_fraction: float = 0.5) -> RunDoc:
    """Feed the error of the newest label, predicted before the update, to the calibration.

    Audits are counted, and change the weights at once only if the error is not small against the
    threshold; otherwise their label waits in the data set for the next update.

    Parameters
    ----------
    run
        In phase ``calibrate``.
    audit_update_fraction
        See `CalibrationMaker`.

    Returns
    -------
    RunDoc
        In phase ``update`` or ``segment``.
    """
    context = open_run(run)
    label = context.workspace.label(run.n_labels - 1)
    error, std = label.error, label.predicted_std
    if error is None or std is None:
        return evolve(run, phase="update")
    calibration = context.calibration().update(error, std)
    changes: dict[str, object] = {"calibration": calibration_doc(calibration)}
    within = abs(error) <= run.threshold_ev
    logger.info(
        "label %d (%s): error %+.4f eV, predicted std %.4f eV, scale factor now %.2f",
        label.index,
        label.reason,
        error,
        std,
        calibration.scale_factor,
    )
    if label.reason != "audit":
        return evolve(run, phase="update", **changes)
    changes |= {
        "n_audits": run.n_audits + 1,
        "n_audits_within": run.n_audits_within + int(within),
        "audits_since_update": run.audits_since_update + 1,
        "audits_within_since_update": run.audits_within_since_update + int(within),
    }
    needs_update = abs(error) >= audit_update_fraction * run.threshold_ev
    return evolve(run, phase="update" if needs_update else "segment", **changes)


@dataclass
class CalibrationMaker(Maker):
    """Update the calibration with the newest label.

    Parameters
    ----------
    name
        Name of the jobs.
    shape, rate
        Gamma prior (a, b) of the calibration; None takes the foundation model's default.
    mode
        ``"mean"`` weighs all labels alike; ``"ema"`` forgets, for phase transitions.
    decay
        Of the weight of older labels per new one, for ``"ema"``.
    surprise
        How readily the calibration forgets a history that the newest errors contradict; 0 never,
        as in the paper. See `onfly.bayes.Calibration`.
    audit_update_fraction
        An audit changes the weights if its error is at least this fraction of the threshold: 0
        always, 1 only if it exceeds the threshold. A bias that grows slowly under the threshold
        shows in audits long before the ensemble's disagreement knows of it.
    """

    name: str = "otf calibration"
    shape: float | None = None
    rate: float | None = None
    mode: Literal["mean", "ema"] = "mean"
    decay: float = 0.95
    surprise: float = 0.02
    audit_update_fraction: float = 0.5

    @otf_job
    def make(self, run: RunDoc) -> RunDoc:
        """Return the run with its calibration updated; a run in another phase is passed on."""
        if run.phase != "calibrate":
            return run
        run = calibrate_run(run, self.audit_update_fraction)
        open_run(run).workspace.write_run(run)
        return run
