"""Do the error bars tell good predictions from bad ones? (the measures of the paper's figure 9)

All errors are those of predictions made before the label was learned, and each error bar is the
calibrated one that decided at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onfly.analysis.metrics import auc_roc, mean_log_likelihood, mll_by_error_interval, rmse
from onfly.report import theme
from onfly.report.figures_calibration import Judged
from onfly.report.plot import Drawing, Plot

__all__ = ["FEW", "ErrorBarQuality", "error_bar_quality", "likelihood_by_error"]

FEW = 5  # below this many labels a mean or an area says next to nothing
EDGES = (0.0, 0.25, 0.5, 1.0, np.inf)  # of |error|, in units of the threshold
NAMES = ("below ¼", "¼ to ½", "½ to 1", "above 1")


@dataclass(frozen=True)
class ErrorBarQuality:
    """Measures over one group of labels; None where too few labels leave nothing to say.

    Attributes
    ----------
    name
        Which labels.
    n, n_beyond, n_beyond_half
        How many there are, and how many have an error above the threshold and above its half.
    rmse
        In eV.
    log_likelihood, log_likelihood_constant
        Mean log density of the errors in units of the threshold: of the predictive Student-t, and
        of one normal distribution whose width is the RMSE of the group, known in hindsight.
    auc, auc_half
        Area under the ROC curve of "the error bar is wide" as a detector of errors above the
        threshold, and above half of it.
    """

    name: str
    n: int
    n_beyond: int
    n_beyond_half: int
    rmse: float | None
    log_likelihood: float | None
    log_likelihood_constant: float | None
    auc: float | None
    auc_half: float | None


def error_bar_quality(threshold: float, history: Judged) -> list[ErrorBarQuality]:
    """Return the measures over all labels, the audits, and the interventions."""
    if not history.labels:
        return []
    audit = history.audit
    groups = (
        ("all labels", np.ones_like(audit)),
        ("audits (random steps)", audit),
        ("interventions", ~audit),
    )
    return [_quality(name, mask, threshold, history) for name, mask in groups]


def _quality(name: str, mask: np.ndarray, threshold: float, history: Judged) -> ErrorBarQuality:
    errors = history.errors[mask] / threshold
    scales = history.scales[mask] / threshold
    beyond, half = int((np.abs(errors) > 1).sum()), int((np.abs(errors) > 0.5).sum())
    enough = errors.size >= FEW
    own = constant = None
    if enough:
        (whole,) = mll_by_error_interval(errors, scales, (0.0, np.inf), history.dof[mask])
        own = whole.mean
        width = rmse(errors)
        constant = mean_log_likelihood(errors, width) if width > 0 else None
    return ErrorBarQuality(
        name,
        n=int(errors.size),
        n_beyond=beyond,
        n_beyond_half=half,
        rmse=threshold * rmse(errors) if errors.size else None,
        log_likelihood=own,
        log_likelihood_constant=constant,
        auc=auc_roc(errors, scales, 1.0) if min(beyond, errors.size - beyond) >= FEW else None,
        auc_half=auc_roc(errors, scales, 0.5) if min(half, errors.size - half) >= FEW else None,
    )


def likelihood_by_error(threshold: float, history: Judged) -> Drawing | None:
    """Mean log-likelihood in intervals of the error, of the error bars and of a constant one.

    None with fewer than `FEW` labels.
    """
    if len(history.labels) < FEW:
        return None
    errors, scales = history.errors / threshold, history.scales / threshold
    x = np.arange(len(NAMES), dtype=float)
    plot = Plot("likelihood", xlabel="|error| in units of the tolerance (n: number of labels)")
    axes = plot.panel
    width = rmse(errors)
    if width > 0:
        constant = [i.mean for i in mll_by_error_interval(errors, width, EDGES)]
        axes.plot(x, constant, color=theme.MUTED, ls="--", lw=1.4, label="one error bar for all")
    counts, hollow = [], False
    for name, color, mask, shift in (
        ("interventions", theme.MODEL, ~history.audit, -0.05),
        ("audits", theme.AUDIT, history.audit, 0.05),
    ):
        if not mask.any():
            continue
        intervals = mll_by_error_interval(errors[mask], scales[mask], EDGES, history.dof[mask])
        counts.append([i.n for i in intervals])
        for few in (False, True):
            chosen = [k for k, i in enumerate(intervals) if i.n and (i.n < FEW) == few]
            if not chosen:
                continue
            hollow = hollow or few
            mean = np.array([intervals[k].mean for k in chosen])
            spread = np.nan_to_num([intervals[k].standard_error for k in chosen])
            place = x[chosen] + shift
            axes.vlines(place, mean - spread, mean + spread, color=color, lw=1.2)
            texts = [f"{intervals[k].n} labels: {intervals[k].mean:.2f}" for k in chosen]
            look = {"markerfacecolor": "white", "markeredgecolor": color} if few else {}
            label = f"{name}, fewer than {FEW}" if few else name
            plot.points(axes, place, mean, label, color, "o", texts, **look)
    numbers = ["n = " + ", ".join(str(c[k]) for c in counts) for k in range(len(NAMES))]
    axes.set_xticks(x, [f"{name}\n{n}" for name, n in zip(NAMES, numbers, strict=True)])
    axes.set(ylabel="mean log-likelihood", xlim=(-0.5, len(NAMES) - 0.5))
    return plot.finish(
        "Do the error bars know which predictions are bad?",
        "Mean log-likelihood of the errors under the predicted distributions, for small and for "
        "large errors (higher is better). On the right the points should lie above the dashed "
        "line: that of one error bar for all predictions, of the best width. Bars are standard "
        "errors" + (f"; hollow points are means of fewer than {FEW} labels." if hollow else "."),
        columns=2,
    )
