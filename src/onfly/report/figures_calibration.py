"""Figures about honesty: are the predicted error bars as wide as the errors?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from onfly.analysis.metrics import binomial_interval, reliability_curve
from onfly.bayes.calibration import Calibration
from onfly.report import theme
from onfly.report.data import RunData, find_setting
from onfly.report.spec import Band, Figure, Heat, Line, Panel, Points, Reference
from onfly.report.verdict import MIN_COVERAGE, percent
from onfly.schemas.label import LabelDoc

__all__ = ["CalibrationHistory", "calibration_history", "coverage", "lambda_posterior"]
__all__ += ["reliability", "z_score_history"]


@dataclass(frozen=True)
class CalibrationHistory:
    """The calibration before each label that counted, and after the last.

    Attributes
    ----------
    labels
        Shape (n,).
    states
        ``states[i]`` judged ``labels[i]``; one more than labels.
    """

    labels: list[LabelDoc]
    states: list[Calibration]

    @property
    def errors(self) -> np.ndarray:
        """Errors in eV, shape (n,)."""
        return np.array([label.error for label in self.labels], dtype=float)

    @property
    def scales(self) -> np.ndarray:
        """Scales of the predictive Student-t in eV, shape (n,)."""
        return np.array(
            [
                (label.predicted_std or 0.0) * state.scale_factor
                for label, state in zip(self.labels, self.states, strict=False)
            ]
        )

    @property
    def dof(self) -> np.ndarray:
        """Degrees of freedom of each prediction, shape (n,)."""
        return np.array([state.dof for state in self.states[:-1]])

    def standard_scores(self) -> np.ndarray:
        """Errors as standard normal scores: the normal quantile of their predicted probability.

        Of honest predictions they are standard normal, whatever the degrees of freedom.
        """
        u = stats.t.cdf(self.errors / self.scales, self.dof)
        return stats.norm.ppf(np.clip(u, 1e-12, 1 - 1e-12))


def calibration_history(data: RunData) -> CalibrationHistory:
    """Replay the calibration from the labels."""
    fields = data.run.calibration.model_dump()
    state = Calibration(**(fields | {"n": 0.0, "sum_z2": 0.0}))
    labels, states = [], [state]
    for label in data.judged_labels:
        std = label.predicted_std
        if std is None or not np.isfinite(std) or std <= 0 or label.error is None:
            continue
        state = state.update(label.error, std)
        labels.append(label)
        states.append(state)
    return CalibrationHistory(labels, states)


def _gamma(state: Calibration) -> stats.rv_continuous:
    return stats.gamma(a=state.shape + state.n / 2, scale=1 / (state.rate + state.sum_z2 / 2))


def lambda_posterior(data: RunData, history: CalibrationHistory) -> Figure | None:
    """Gamma density of λ after each label that counted."""
    if not history.labels:
        return None
    # as 1/sqrt(λ), the factor on the error bars: a number that speaks for itself
    ends = [_gamma(state).ppf([0.002, 0.998]) ** -0.5 for state in history.states]
    factor = np.geomspace(min(0.6, 0.9 * np.min(ends)), max(1.6, 1.1 * np.max(ends)), 160)
    lam = factor**-2.0
    columns = []
    for state in history.states:
        density = _gamma(state).pdf(lam) * 2 * lam  # per unit of ln(factor)
        columns.append(density / max(density.max(), 1e-300))
    x = np.arange(len(history.states), dtype=float)
    middle = np.array([_gamma(state).median() for state in history.states]) ** -0.5
    return Figure(
        key="lambda",
        title="How much must the model's own error bars be widened?",
        xlabel="errors seen so far",
        integer_x=True,
        panels=[
            Panel(
                "factor on error bars, 1/√λ",
                [
                    Heat(x, factor, np.array(columns).T, "density"),
                    Line(x, middle, "median", theme.INK, width=2),
                ],
                [Reference(1.0, "1: right as they are", theme.THRESHOLD)],
                log=True,
                yrange=(float(factor[0]), float(factor[-1])),
            )
        ],
        note="The belief about the factor after each label (posterior of λ; dark is likely). "
        "Above 1 the model was too sure of itself and its error bars are widened before they "
        "decide; below 1 it was too cautious.",
        height=340,
        wide=False,
    )


def z_score_history(data: RunData, history: CalibrationHistory) -> Figure | None:
    """Errors in units of the calibrated error bar."""
    if not history.labels:
        return None
    scores = history.standard_scores()
    items: list[Band | Points] = []
    x = data.axis([label.md_step or 0 for label in history.labels])
    # an order of colours that agrees with the other figures
    for reason in theme.REASON_ORDER:
        index = [i for i, label in enumerate(history.labels) if label.reason == reason]
        if index:
            name, color, symbol = theme.REASONS[reason]
            items.append(
                Points(x[index], scores[index], name, color, symbol=symbol)  # type: ignore[arg-type]
            )
    reach = max(3.2, 1.1 * float(np.abs(scores).max()))
    return Figure(
        key="z-scores",
        title="Are errors as large as predicted?",
        xlabel=data.axis_label,
        xrange=data.axis_range,
        panels=[
            Panel(
                "error / error bar (z-score)",
                items,
                [
                    Reference(1.96, "95 % of points lie between the lines", theme.MUTED),
                    Reference(-1.96, "", theme.MUTED),
                ],
                yrange=(-reach, reach),
            )
        ],
        note="Points far outside the lines: the model was too sure. All points close to zero: "
        "it was too cautious, which costs labels but not accuracy. "
        f"Spread of all points: {np.sqrt(np.mean(scores**2)):.2f} (1 is ideal).",
        height=340,
        wide=False,
    )


def reliability(data: RunData, history: CalibrationHistory) -> Figure | None:
    """Claimed against observed coverage of the calibrated intervals."""
    if not history.labels:
        return None
    errors, scales, dof = history.errors, history.scales, history.dof
    curve = reliability_curve(errors, scales, dof)
    items: list[Line | Band] = [
        Band(100 * curve.nominal, 100 * curve.low, 100 * curve.high, "95 % interval", theme.MODEL),
        Line(np.array([0.0, 100.0]), np.array([0.0, 100.0]), "ideal", theme.MUTED, dash="dash"),
        Line(
            100 * curve.nominal,
            100 * curve.observed,
            f"all {curve.n} labels",
            theme.MODEL,
            width=2.2,
        ),
    ]
    audit = np.array([label.reason == "audit" for label in history.labels])
    if audit.any():
        own = reliability_curve(errors[audit], scales[audit], dof[audit])
        items.append(
            Line(
                100 * own.nominal,
                100 * own.observed,
                f"{own.n} audits only",
                theme.AUDIT,
                width=2.2,
            )
        )
    return Figure(
        key="reliability",
        title="Reliability: claimed against observed",
        xlabel="claimed probability (%)",
        panels=[Panel("errors inside the claimed interval (%)", items, yrange=(0, 101))],
        note="When the model claims that an error lies in an interval with 80 % probability, 80 % "
        "of the errors should. Below the dashed line it claims too much.",
        height=360,
        xrange=(0, 100),
        wide=False,
    )


def coverage(data: RunData) -> Figure | None:
    """Fraction of the audits within the threshold, after each of them, with its interval."""
    audits = [label for label in data.judged_labels if label.reason == "audit"]
    if not audits:
        return None
    inside = np.cumsum([abs(label.error or 0.0) <= data.run.threshold_ev for label in audits])
    n = np.arange(1, len(audits) + 1)
    bounds = np.array([binomial_interval(int(k), int(m)) for k, m in zip(inside, n, strict=True)])
    goal = float(find_setting(data.run.settings, "min_coverage") or MIN_COVERAGE)
    share = 100 * inside / n
    return Figure(
        key="coverage",
        title="Proven accuracy: audits within the threshold",
        xlabel="number of audits",
        integer_x=True,
        panels=[
            Panel(
                "audits within threshold (%)",
                [
                    Band(
                        n.astype(float),
                        100 * bounds[:, 0],
                        100 * bounds[:, 1],
                        "95 % interval",
                        theme.AUDIT,
                    ),
                    Line(n.astype(float), share, "so far", theme.AUDIT, width=2.2),
                    Points(
                        n.astype(float),
                        share,
                        "audit",
                        theme.AUDIT,
                        symbol="diamond",
                        size=6,
                        legend=False,
                    ),
                ],
                [Reference(100 * goal, f"required {100 * goal:.0f} %", theme.THRESHOLD)],
                yrange=(0, 104),
            )
        ],
        note=f"{inside[-1]} of {n[-1]} audits; the share of all steps that would pass is "
        f"{percent(bounds[-1, 0])} to {percent(bounds[-1, 1])} with 95 % confidence "
        "(binomial, Clopper-Pearson). Few audits leave a wide interval.",
        height=360,
        wide=False,
    )
