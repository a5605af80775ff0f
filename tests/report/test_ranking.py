from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from onfly.bayes.calibration import Calibration
from onfly.report import build_report
from onfly.report.data import load_run
from onfly.report.figures_calibration import CalibrationHistory, calibration_history
from onfly.report.figures_ranking import EDGES, FEW, error_bar_quality, likelihood_by_error
from onfly.report.spec import Line, Points
from onfly.report.tables import quality_rows

THRESHOLD = 0.02


def history(errors, stds, reasons):
    """Labels judged by a calibration that learns from them."""
    state = Calibration()
    states, labels = [state], []
    for error, std, reason in zip(errors, stds, reasons, strict=True):
        labels.append(SimpleNamespace(error=error, predicted_std=std, reason=reason))
        state = state.update(error, std)
        states.append(state)
    return CalibrationHistory(labels, states)


@pytest.fixture
def judged():
    rng = np.random.default_rng(5)
    stds = THRESHOLD * rng.uniform(0.05, 1.5, 60)
    reasons = np.where(np.arange(60) % 3, "audit", "uncertain")
    data = SimpleNamespace(run=SimpleNamespace(threshold_ev=THRESHOLD))
    return data, history(rng.normal(scale=2 * stds), stds, reasons)


def test_areas_are_those_of_scikit_learn(judged):
    data, seen = judged
    everything, audits, interventions = error_bar_quality(data, seen)
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
    data, seen = judged
    expected = [
        stats.t.logpdf(label.error, df=state.dof, scale=label.predicted_std * state.scale_factor)
        + np.log(THRESHOLD)
        for label, state in zip(seen.labels, seen.states, strict=False)
    ]
    everything = error_bar_quality(data, seen)[0]
    assert everything.log_likelihood == pytest.approx(np.mean(expected))
    width = np.sqrt(np.mean(seen.errors**2)) / THRESHOLD
    # the mean of a normal distribution of its own width, in closed form
    constant = -0.5 * np.log(2 * np.pi * np.e * width**2)
    assert everything.log_likelihood_constant == pytest.approx(constant)
    panel = likelihood_by_error(data, seen).panels[0]
    errors = np.abs(seen.errors) / THRESHOLD
    audit = np.array([label.reason == "audit" for label in seen.labels])
    drawn = {}
    for item in panel.items:
        if isinstance(item, Points) and item.name.startswith("audits"):
            drawn |= dict(zip(np.round(item.x).astype(int), item.y, strict=True))
    for k, (low, high) in enumerate(pairwise(EDGES)):
        inside = audit & (errors >= low) & (errors < high)
        assert drawn[k] == pytest.approx(np.mean(np.array(expected)[inside]))


def test_error_bars_that_know_beat_one_for_all():
    """Of errors whose size varies tenfold; and shuffled error bars do not."""
    rng = np.random.default_rng(1)
    stds = THRESHOLD * 10 ** rng.uniform(-1, 0.3, 200)
    errors = rng.normal(scale=stds)
    data = SimpleNamespace(run=SimpleNamespace(threshold_ev=THRESHOLD))
    reasons = ["audit"] * 200
    good = error_bar_quality(data, history(errors, stds, reasons))[0]
    bad = error_bar_quality(data, history(errors, rng.permutation(stds), reasons))[0]
    assert good.log_likelihood > good.log_likelihood_constant + 0.1
    assert bad.log_likelihood < bad.log_likelihood_constant
    assert good.auc > 0.75
    assert abs(bad.auc - 0.5) < 0.12
    # on the large errors, where it matters, the figure shows it
    panel = likelihood_by_error(data, history(errors, stds, reasons)).panels[0]
    own = next(i for i in panel.items if isinstance(i, Points))
    constant = next(i for i in panel.items if isinstance(i, Line))
    assert own.y[-1] > constant.y[-1] + 0.1


def test_few_points_say_nothing():
    data = SimpleNamespace(run=SimpleNamespace(threshold_ev=THRESHOLD))
    some = history([0.001] * (FEW - 1), [0.001] * (FEW - 1), ["audit"] * (FEW - 1))
    assert likelihood_by_error(data, some) is None
    group = error_bar_quality(data, some)[0]
    assert group.log_likelihood is group.auc is group.auc_half is None
    # enough labels, but hardly one beyond the threshold
    errors = [0.001, 0.002, 0.003, 0.001, 0.015, 0.05, 0.004]
    quality = error_bar_quality(data, history(errors, [0.004] * 7, ["audit"] * 7))
    assert (quality[0].n_beyond, quality[0].auc) == (1, None)
    assert quality[0].log_likelihood is not None
    rows = quality_rows(quality)
    assert rows[0]["auc"] == "– (1 of 7 above)"
    assert rows[0]["auc_half"] == "– (2 of 7 above)"
    assert rows[2] == {
        "name": "interventions", "n": "0", "rmse": "–", "auc": "– (0 of 0 above)",
        "auc_half": "– (0 of 0 above)", "likelihood": "–", "constant": "–",
    }  # fmt: skip
    panel = likelihood_by_error(data, history(errors, [0.004] * 7, ["audit"] * 7)).panels[0]
    symbols = {i.name: i.symbol for i in panel.items if isinstance(i, Points)}
    assert symbols["audits, fewer than 5"] == "circle-open"


def test_errors_that_are_all_zero():
    data = SimpleNamespace(run=SimpleNamespace(threshold_ev=THRESHOLD))
    exact = history([0.0] * 6, [0.001] * 6, ["audit"] * 6)
    assert error_bar_quality(data, exact)[0].log_likelihood_constant is None
    assert likelihood_by_error(data, exact) is not None


def test_the_page_has_table_and_figure(finished_run, write_run, tmp_path):
    text = build_report(finished_run, tmp_path / "a.html", png=False).read_text()
    assert 'data-figure="likelihood"' in text
    table = re.search(r'<table id="quality">.*?</table>', text, re.S)[0]
    data = load_run(finished_run)
    rows = quality_rows(error_bar_quality(data, calibration_history(data)))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    assert cells == [cell for row in rows for cell in row.values()]
    short = write_run(n_steps=9, audits=False, state=None, phase="segment")
    known = len(load_run(short).judged_labels)
    assert 0 < known < FEW
    text = build_report(short, png=False).read_text()
    assert 'data-figure="likelihood"' not in text
    assert '<table id="quality">' not in text
    assert f"Only {known} errors are known: too few" in text
