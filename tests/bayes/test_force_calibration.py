from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from scipy import stats

from onfly.bayes import force_calibration
from onfly.bayes.force_calibration import ForceCalibration, intraclass_correlation

H, O = 1, 8  # noqa: E741
ONES = np.ones((1, 3))


def correlated_errors(rng, n_labels, n_atoms, spread):
    """Errors whose size differs from label to label: squares of one label are correlated."""
    size = np.exp(spread * rng.normal(size=(n_labels, 1, 1)) - spread**2)
    return size * rng.normal(size=(n_labels, n_atoms, 3))


def squared_correlation(spread):
    """Of s² x² and s² y² with log s ~ N(-spread², spread²) and x, y ~ N(0, 1)."""
    fourth = np.exp(4 * spread**2)  # E[s⁴], with E[s²] = 1
    return (fourth - 1) / (3 * fourth - 1)


def test_posterior_of_independent_errors_is_the_conjugate_one():
    rng = np.random.default_rng(0)
    calibration = ForceCalibration(shape=2.0, rate=3.0, correlation=0.0, pool=0.0)
    std = rng.uniform(0.5, 2.0, (5, 3))
    errors = rng.normal(size=(5, 3)) * std
    after = calibration.update(errors, std, 5 * [H])
    shape, rate = 2.0 + 15 / 2, 3.0 + ((errors / std) ** 2).sum() / 2
    assert after.dof(H) == pytest.approx(2 * shape)
    assert after.scale_factor(H) == pytest.approx(np.sqrt(rate / shape))
    # one component that rules: a plain Student-t
    one = np.array([[1.3, 0.0, 0.0]])
    expected = 2 * stats.t.sf(2.0 / (1.3 * after.scale_factor(H)), 2 * shape)
    assert after.exceedance(one, 2.0, [H])[0] == pytest.approx(expected)
    assert after.exceedance(one, 2.0, [H], of="component")[0] == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [(1.0, 1.0, 1.0), (1.0, 0.5, 0.2), (1.0, 0.9, 0.0)])
def test_exceedance_is_that_of_drawn_errors(ratio):
    rng = np.random.default_rng(1)
    calibration = ForceCalibration(shape=3.0, rate=2.0)
    std = np.array([ratio]) * 0.2
    draws = rng.normal(size=(400_000, 3)) * std / np.sqrt(rng.gamma(3.0, 0.5, (400_000, 1)))
    for threshold in (0.2, 0.5):
        vector = float((np.linalg.norm(draws, axis=1) > threshold).mean())
        component = float((np.abs(draws) > threshold).any(1).mean())
        found = calibration.exceedance(std, threshold, [H])[0]
        assert found == pytest.approx(vector, rel=0.08)
        bound = calibration.exceedance(std, threshold, [H], of="component")[0]
        assert component <= bound * 1.01 <= 3.0 * component + 0.01


def test_intervals_cover_although_errors_of_a_label_are_correlated():
    """95 % intervals hold 95 %; counting all components as independent, they hold less."""
    rng = np.random.default_rng(2)
    spread = 0.4
    rho = squared_correlation(spread)
    covered = {rho: [], 0.0: []}
    for _ in range(400):
        errors = correlated_errors(rng, 5, 30, spread)
        for correlation, hits in covered.items():
            calibration = ForceCalibration(shape=0.5, rate=0.5, correlation=correlation)
            for label in errors[:-1]:
                calibration = calibration.update(label, np.ones((30, 3)), 30 * [H])
            hits.append((np.abs(errors[-1]) <= calibration.interval(H)).mean())
    assert np.mean(covered[rho]) == pytest.approx(0.95, abs=0.02)
    assert np.mean(covered[0.0]) < np.mean(covered[rho]) - 0.005


def test_intervals_are_sharp_after_many_labels():
    rng = np.random.default_rng(3)
    calibration = ForceCalibration(correlation=0.2)
    for label in 3.0 * rng.normal(size=(300, 20, 3)):
        calibration = calibration.update(label, np.ones((20, 3)), 20 * [O])
    assert calibration.scale_factor(O) == pytest.approx(3.0, rel=0.03)
    assert calibration.interval(O) == pytest.approx(3.0 * 1.96, rel=0.03)


def test_effective_number_is_bounded():
    calibration = ForceCalibration(correlation=0.1)
    assert calibration.effective_number(1) == 1.0
    assert calibration.effective_number(10**6) == pytest.approx(10.0, rel=1e-3)
    assert ForceCalibration(correlation=0.0).effective_number(27) == 27.0


def test_the_effective_number_tells_the_variance_of_a_mean():
    rng = np.random.default_rng(4)
    errors = correlated_errors(rng, 20_000, 10, 0.4)
    z2 = (errors**2).reshape(len(errors), -1)
    expected = z2.var() / z2.mean(1).var()
    calibration = ForceCalibration(correlation=squared_correlation(0.4))
    assert calibration.effective_number(30) == pytest.approx(expected, rel=0.1)


def test_species_are_calibrated_apart_and_few_errors_borrow():
    rng = np.random.default_rng(5)
    calibration = ForceCalibration(rate=1.5, correlation=0.0, pool=10.0)
    hydrogen, oxygen = rng.normal(size=(200, 3)), 4.0 * rng.normal(size=(200, 3))
    calibration = calibration.update(hydrogen, np.ones((200, 3)), 200 * [H])
    # oxygen was never seen: it takes the scale of hydrogen, with few degrees of freedom
    assert calibration.scale_factor(O) == pytest.approx(1.0, rel=0.2)
    assert calibration.dof(O) == pytest.approx(3.0 + 10.0)
    calibration = calibration.update(oxygen, np.ones((200, 3)), 200 * [O])
    assert calibration.scale_factor(H) == pytest.approx(1.0, rel=0.15)
    assert calibration.scale_factor(O) == pytest.approx(4.0, rel=0.1)


def test_intraclass_correlation_of_known_components():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(4000, 1)) * np.sqrt(0.3) + rng.normal(size=(4000, 12)) * np.sqrt(0.7)
    assert intraclass_correlation(list(values)) == pytest.approx(0.3, abs=0.03)
    assert intraclass_correlation(list(rng.normal(size=(4000, 12)))) < 0.01
    errors = correlated_errors(rng, 20_000, 4, 0.3) ** 2
    assert intraclass_correlation(list(errors)) == pytest.approx(squared_correlation(0.3), abs=0.03)
    with pytest.raises(ValueError, match="two labels"):
        intraclass_correlation([np.ones(3)])


def test_broken_predictions_always_ask():
    std = np.array([[np.nan, 1.0, 1.0], [np.inf, 1.0, 1.0], [0.0, 0.0, 0.0], [1e-200] * 3])
    for of in ("vector", "component"):
        found = ForceCalibration().exceedance(std, 0.1, 4 * [H], of=of)
        assert found.tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0])


def test_round_trip_through_json():
    calibration = (
        ForceCalibration(correlation=0.3).update(2 * ONES, ONES, [O]).update(ONES, ONES, [H])
    )
    again = ForceCalibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    assert again.species == (1, 8)


def test_bad_input_is_refused():
    for bad in (
        {"shape": 0.0}, {"rate": float("nan")}, {"correlation": 1.1}, {"pool": -1.0},
        {"species": (1,)}, {"species": (1,), "n": (-1.0,), "sum_z2": (0.0,)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            ForceCalibration(**bad)
    calibration = ForceCalibration()
    with pytest.raises(ValueError, match=r"shape \(N, 3\)"):
        calibration.update(np.ones(3), ONES, [H])
    with pytest.raises(ValueError, match="positive"):
        calibration.update(ONES, 0 * ONES, [H])
    with pytest.raises(ValueError, match="finite"):
        calibration.update(np.nan * ONES, ONES, [H])
    with pytest.raises(ValueError, match="threshold"):
        calibration.exceedance(ONES, 0.0, [H])
    with pytest.raises(ValueError, match="negative"):
        calibration.exceedance(-ONES, 1.0, [H])
    with pytest.raises(ValueError, match="vector"):
        calibration.exceedance(ONES, 1.0, [H], of="norm")


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(force_calibration).failed == 0


def test_a_label_that_contradicts_the_history_discounts_it():
    """An ensemble that suddenly errs three times its std is found by one label, not by thirty."""
    rng = np.random.default_rng(6)
    found = {}
    for surprise in (0.0, 0.02):
        calibration = ForceCalibration(surprise=surprise)
        for label in 0.5 * rng.normal(size=(30, 9, 3)):
            calibration = calibration.update(label, np.ones((9, 3)), 9 * [O])
        calm = calibration.scale_factor(O)
        after = calibration.update(3.0 * rng.normal(size=(9, 3)), np.ones((9, 3)), 9 * [O])
        found[surprise] = after.scale_factor(O)
        assert calm < 0.7
        # what is expected leaves the history as it is
        more = calibration.update(calm * rng.normal(size=(9, 3)), np.ones((9, 3)), 9 * [O])
        assert more.dof(O) == pytest.approx(calibration.dof(O) + calibration.effective_number(27))
    assert found[0.0] < 1.0
    assert found[0.02] > 2.0


def test_the_prior_is_wide_until_labels_speak():
    assert ForceCalibration().scale_factor(H) == pytest.approx(2.0)
