"""Figures about honesty: are the predicted error bars as wide as the errors?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from onfly.analysis.metrics import binomial_interval, reliability_curve
from onfly.report import theme
from onfly.report.plot import Drawing, Plot, whole_numbers
from onfly.report.records import CalibrationState, LabelRow
from onfly.report.run_data import RunReportData
from onfly.report.verdict import percent

__all__ = ["Judged", "coverage", "judged_predictions", "lambda_posterior", "reliability"]
__all__ += ["z_score_history"]


@dataclass(frozen=True)
class Judged:
    """Labels that the calibration counted; ``states[i]`` judged ``labels[i]``.

    There is one state more than labels: the one after the last.
    """

    labels: tuple[LabelRow, ...]
    states: tuple[CalibrationState, ...]

    @property
    def errors(self) -> np.ndarray:
        """Errors in eV, shape (n,)."""
        return np.array([label.energy_error for label in self.labels], dtype=float)

    @property
    def scales(self) -> np.ndarray:
        """Scales of the predictive Student-t in eV, shape (n,)."""
        pairs = zip(self.labels, self.states, strict=False)
        return np.array([(x.predicted_std or 0.0) * state.scale_factor for x, state in pairs])

    @property
    def dof(self) -> np.ndarray:
        """Degrees of freedom of each prediction, shape (n,)."""
        return np.array([state.dof for state in self.states[: len(self.labels)]])

    @property
    def audit(self) -> np.ndarray:
        """Which of them are audits, shape (n,)."""
        return np.array([label.is_audit for label in self.labels], dtype=bool)

    def standard_scores(self) -> np.ndarray:
        """Errors as standard normal scores: the normal quantile of their predicted probability.

        Of honest predictions they are standard normal, whatever the degrees of freedom.
        """
        u = stats.t.cdf(self.errors / self.scales, self.dof)
        return stats.norm.ppf(np.clip(u, 1e-12, 1 - 1e-12))


def judged_predictions(data: RunReportData) -> Judged:
    """Return the labels that the calibration counted, with the state that judged each."""
    known = {label.index: label for label in data.judged}
    pairs = [(known[s.label], s) for s in data.calibration if s.label in known]
    last = tuple(s for s in data.calibration if s.label is None)
    return Judged(tuple(label for label, _ in pairs), (*(s for _, s in pairs), *last))


def lambda_posterior(data: RunReportData, history: Judged) -> Drawing | None:
    """Belief about 1/√λ after each label that counted."""
    if not history.labels:
        return None
    # 1/√λ is the factor on the error bars: a number that speaks for itself
    tails = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
    factors = np.array(
        [stats.gamma(a=s.a, scale=1 / s.b).ppf(tails) ** -0.5 for s in history.states]
    )
    x = np.arange(len(factors))
    plot = Plot("lambda", xlabel="errors seen so far")
    axes = plot.panel
    for low, high, alpha, name in ((0, 4, 0.18, "95 %"), (1, 3, 0.35, "50 %")):
        axes.fill_between(
            x, factors[:, low], factors[:, high], color=theme.MODEL, alpha=alpha, lw=0, label=name
        )
    axes.plot(x, factors[:, 2], color=theme.INK, lw=2, label="median")
    axes.set(ylabel="factor on error bars, 1/√λ", xlim=(0, max(len(x) - 1, 1)))
    whole_numbers(axes.xaxis)
    plot.limit(axes, 1.0, "1: no correction")
    plot.logarithmic(axes)
    return plot.finish(
        "How much must the model's own error bars be widened?",
        "The factor on the error bars after each label, from the posterior of λ. Above 1 the model "
        "was over-confident, and its error bars are widened before they decide; below 1 it was "
        "too cautious.",
    )


def z_score_history(data: RunReportData, history: Judged) -> Drawing | None:
    """Errors in units of the calibrated error bar."""
    if not history.labels:
        return None
    scores = history.standard_scores()
    x = data.label_axis(history.labels)
    plot = Plot("z-scores", xlabel=data.axis_label)
    axes = plot.panel
    axes.axhspan(-1.96, 1.96, color=theme.GRID, alpha=0.5, lw=0, label="95 % of points")
    # an order of colours that agrees with the other figures
    for reason in theme.REASON_ORDER:
        places = [i for i, label in enumerate(history.labels) if label.reason == reason]
        if places:
            name, color, marker = theme.REASONS[reason]
            texts = [f"label {history.labels[i].index}: {scores[i]:+.2f}" for i in places]
            plot.points(axes, x[places], scores[places], name, color, marker, texts)
    reach = max(3.2, 1.1 * float(np.abs(scores).max()))
    axes.set(ylabel="error / error bar (z-score)", ylim=(-reach, reach))
    if (limits := data.axis_limits) is not None:
        axes.set_xlim(limits)
    return plot.finish(
        "Are errors as large as predicted?",
        "Points far outside the band: the model was too sure. All points close to zero: "
        "it was too cautious, which costs labels but not accuracy. "
        f"Spread of all points: {np.sqrt(np.mean(scores**2)):.2f} (1 is ideal).",
    )


def reliability(data: RunReportData, history: Judged) -> Drawing | None:
    """Claimed against observed coverage of the calibrated intervals."""
    if not history.labels:
        return None
    errors, scales, dof, audit = history.errors, history.scales, history.dof, history.audit
    plot = Plot("reliability", (240,), xlabel="claimed probability (%)")
    axes = plot.panel
    curve = reliability_curve(errors, scales, dof)
    x = 100 * curve.nominal
    axes.fill_between(
        x, 100 * curve.low, 100 * curve.high, color=theme.MODEL, alpha=0.15, lw=0,
        label="95 % interval",
    )  # fmt: skip
    axes.plot([0, 100], [0, 100], color=theme.MUTED, ls="--", lw=1.2, label="ideal")
    axes.plot(x, 100 * curve.observed, color=theme.MODEL, lw=2, label=f"all {curve.n} labels")
    if audit.any():
        own = reliability_curve(errors[audit], scales[audit], dof[audit])
        axes.plot(x, 100 * own.observed, color=theme.AUDIT, lw=2, label=f"{own.n} audits only")
    axes.set(ylabel="errors inside (%)", xlim=(0, 100), ylim=(0, 101))
    return plot.finish(
        "Reliability: claimed against observed",
        "When the model claims that an error lies in an interval with 80 % probability, 80 % "
        "of the errors should. Below the dashed line it claims too much.",
        columns=2,
    )


def coverage(data: RunReportData) -> Drawing | None:
    """Fraction of the audits within the threshold, after each of them, with its interval."""
    if not data.audit_outcomes:
        return None
    inside = np.cumsum(data.audit_outcomes)
    n = np.arange(1, len(inside) + 1)
    bounds = np.array([binomial_interval(int(k), int(m)) for k, m in zip(inside, n, strict=True)])
    share, goal = 100 * inside / n, data.required_coverage
    plot = Plot("coverage", (240,), xlabel="number of audits")
    axes = plot.panel
    axes.fill_between(
        n, 100 * bounds[:, 0], 100 * bounds[:, 1], color=theme.AUDIT, alpha=0.18, lw=0,
        label="95 % interval",
    )  # fmt: skip
    axes.plot(n, share, color=theme.AUDIT, lw=2)
    texts = [f"{k} of {m} audits" for k, m in zip(inside, n, strict=True)]
    plot.points(axes, n, share, "share so far", theme.AUDIT, "D", texts, markersize=5)
    axes.set(ylabel="audits within tolerance (%)", ylim=(0, 104))
    whole_numbers(axes.xaxis)
    plot.limit(axes, 100 * goal, "")
    axes.plot([], [], color=theme.THRESHOLD, ls="--", lw=1.2, label=f"required {100 * goal:.0f} %")
    return plot.finish(
        "How many audits kept the tolerance?",
        f"{inside[-1]} of {n[-1]} audits; the share of all steps that would pass is "
        f"{percent(bounds[-1, 0])} to {percent(bounds[-1, 1])} with 95 % confidence "
        "(binomial, Clopper-Pearson). These are the audits of all weights that the run had; the "
        "proof above is that of its last closing block.",
    )
