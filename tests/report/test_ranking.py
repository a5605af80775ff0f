from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from onfly.bayes.calibration import Calibration
from onfly.report import build_report
from onfly.report.data import load_run
from onfly.report.figures_calibration import Judged, judged_predictions
from onfly.report.figures_ranking import EDGES, FEW, error_bar_quality, likelihood_by_error
from onfly.report.records import CalibrationState, LabelRow
from onfly.report.tables import quality_rows

THRESHOLD = 0.02


def history(errors, stds, reasons):
    """Labels judged by a calibration that learns from them."""
    state = Calibration()
    states, labels = [], []
    for k, (error, std, reason) in enumerate(zip(errors, stds, reasons, strict=True)):
        labels.append(
            LabelRow(index=k, reason=reason, energy=0.0, energy_error=error, predicted_std=std)
        )
        states.append(state)
        state = state.update(error, std)
    rows = [
        CalibrationState(k, s.shape + s.n / 2, s.rate + s.sum_z2 / 2)
        for k, s in [*enumerate(states), (None, state)]
    ]
    return Judged(tuple(labels), tuple(rows))


def line(drawing, name):
    return next(x for x in drawing.figure.axes[0].get_lines() if x.get_label() == name)


@pytest.fixture
def judged():
    rng = np.random.default_rng(5)
    stds = THRESHOLD * rng.uniform(0.05, 1.5, 60)
    reasons = np.where(np.arange(60) % 3, "audit", "uncertain")
    return history(rng.normal(scale=2 * stds), stds, reasons)


def test_areas_are_those_of_scikit_learn(judged):
    seen = judged
    everything, audits, interventions = error_bar_quality(THRESHOLD, seen)
    assert (everything.n, audits.n, interventions.n) == (60, 40, 20)
    mask = np.array([label.reason == "audit" for label in seen.labels])
    for group, chosen in ((everything, mask | True), (audits, mask)):
        errors, scales = np.abs(seen.errors[chosen]), seen.scales[chosen]
        assert group.auc == pytest.approx(roc_auc_score(errors > THRESHOLD, scales))
        assert group.auc_half == pytest.approx(roc_auc_score(errors > THRESHOLD / 2, scales))
        assert group.rmse == pytest.approx(np.sqrt(np.mean(errors**2)))
        assert group.n_beyond == (errors > THRESHOLD).sum()
    assert everything.auc > 0.6


def test_likelihood_has_the_degrees_of_freedom_of_each_moment(judged):
    seen = judged
    expected = [
        stats.t.logpdf(
            label.energy_error, df=state.dof, scale=label.predicted_std * state.scale_factor
        )
        + np.log(THRESHOLD)
        for label, state in zip(seen.labels, seen.states, strict=False)
    ]
    everything = error_bar_quality(THRESHOLD, seen)[0]
    assert everything.log_likelihood == pytest.approx(np.mean(expected))
    width = np.sqrt(np.mean(seen.errors**2)) / THRESHOLD
    # the mean of a normal distribution of its own width, in closed form
    constant = -0.5 * np.log(2 * np.pi * np.e * width**2)
    assert everything.log_likelihood_constant == pytest.approx(constant)
    drawing = likelihood_by_error(THRESHOLD, seen)
    errors, audit = np.abs(seen.errors) / THRESHOLD, seen.audit
    drawn = {}
    for name in ("audits", "audits, fewer than 5"):
        for x in drawing.figure.axes[0].get_lines():
            if x.get_label() == name:
                drawn |= dict(zip(np.round(x.get_xdata()).astype(int), x.get_ydata(), strict=True))
    for k, (low, high) in enumerate(pairwise(EDGES)):
        inside = audit & (errors >= low) & (errors < high)
        assert drawn[k] == pytest.approx(np.mean(np.array(expected)[inside]))


def test_error_bars_that_know_beat_one_for_all():
    """Of errors whose size varies tenfold; and shuffled error bars do not."""
    rng = np.random.default_rng(1)
    stds = THRESHOLD * 10 ** rng.uniform(-1, 0.3, 200)
    errors = rng.normal(scale=stds)
    reasons = ["audit"] * 200
    good = error_bar_quality(THRESHOLD, history(errors, stds, reasons))[0]
    bad = error_bar_quality(THRESHOLD, history(errors, rng.permutation(stds), reasons))[0]
    assert good.log_likelihood > good.log_likelihood_constant + 0.1
    assert bad.log_likelihood < bad.log_likelihood_constant
    assert good.auc > 0.75
    assert abs(bad.auc - 0.5) < 0.12
    # on the large errors, where it matters, the figure shows it
    drawing = likelihood_by_error(THRESHOLD, history(errors, stds, reasons))
    own, constant = line(drawing, "audits"), line(drawing, "one error bar for all")
    assert own.get_ydata()[-1] > constant.get_ydata()[-1] + 0.1


def test_few_points_say_nothing():
    some = history([0.001] * (FEW - 1), [0.001] * (FEW - 1), ["audit"] * (FEW - 1))
    assert likelihood_by_error(THRESHOLD, some) is None
    group = error_bar_quality(THRESHOLD, some)[0]
    assert group.log_likelihood is group.auc is group.auc_half is None
    # enough labels, but hardly one beyond the threshold
    errors = [0.001, 0.002, 0.003, 0.001, 0.015, 0.05, 0.004]
    quality = error_bar_quality(THRESHOLD, history(errors, [0.004] * 7, ["audit"] * 7))
    assert (quality[0].n_beyond, quality[0].auc) == (1, None)
    assert quality[0].log_likelihood is not None
    rows = quality_rows(quality)
    assert rows[0]["auc"] == "– (1 of 7 above)"
    assert rows[0]["auc_half"] == "– (2 of 7 above)"
    assert rows[2] == {
        "name": "interventions", "n": "0", "rmse": "–", "auc": "– (0 of 0 above)",
        "auc_half": "– (0 of 0 above)", "likelihood": "–", "constant": "–",
    }  # fmt: skip
    drawing = likelihood_by_error(THRESHOLD, history(errors, [0.004] * 7, ["audit"] * 7))
    assert line(drawing, "audits, fewer than 5").get_markerfacecolor() == "white"
    assert "hollow points" in drawing.note


def test_errors_that_are_all_zero():
    exact = history([0.0] * 6, [0.001] * 6, ["audit"] * 6)
    assert error_bar_quality(THRESHOLD, exact)[0].log_likelihood_constant is None
    assert likelihood_by_error(THRESHOLD, exact) is not None


def test_the_page_has_table_and_figure(finished_run, write_run, tmp_path):
    text = build_report(finished_run, tmp_path / "a.html", png=False).read_text()
    assert 'data-figure="likelihood"' in text
    table = re.search(r'<table id="quality">.*?</table>', text, re.S)[0]
    data = load_run(finished_run)
    rows = quality_rows(error_bar_quality(data.threshold, judged_predictions(data)))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    assert cells == [cell for row in rows for cell in row.values()]
    short = write_run(n_steps=9, audits=False, phase="explore")
    known = len(load_run(short).judged)
    assert 0 < known < FEW
    text = build_report(short, png=False).read_text()
    assert 'data-figure="likelihood"' not in text
    assert '<table id="quality">' not in text
    assert f"Only {known} errors are known: too few" in text
