from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from scipy import stats

from onfly.bayes import stress_calibration
from onfly.bayes.stress_calibration import StressCalibration

ONES = np.ones((3, 3))


def symmetric(values):
    tensor = np.zeros((3, 3))
    tensor[np.triu_indices(3)] = values
    return tensor + tensor.T - np.diag(np.diag(tensor))


def test_posterior_of_independent_errors_is_the_conjugate_one():
    rng = np.random.default_rng(0)
    calibration = StressCalibration(shape=2.0, rate=3.0, correlation=0.0)
    errors, stds = rng.normal(size=6), rng.uniform(0.5, 2.0, 6)
    after = calibration.update(symmetric(errors), symmetric(stds))
    shape, rate = 2.0 + 6 / 2, 3.0 + ((errors / stds) ** 2).sum() / 2
    assert after.dof == pytest.approx(2 * shape)
    assert after.scale_factor == pytest.approx(np.sqrt(rate / shape))
    one = np.zeros((3, 3))
    one[0, 0] = 1.3  # the only uncertain component: a plain Student-t
    expected = 2 * stats.t.sf(2.0 / (1.3 * after.scale_factor), 2 * shape)
    assert after.exceedance(one, 2.0) == pytest.approx(expected)


def test_components_of_one_label_are_not_six_errors():
    assert StressCalibration(correlation=1.0).update(ONES, ONES).n == pytest.approx(1.0)
    assert StressCalibration(correlation=0.0).update(ONES, ONES).n == pytest.approx(6.0)
    assert StressCalibration().update(ONES, ONES).n == pytest.approx(6 / 3.5)


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_the_bound_holds_whatever_the_correlation(shared):
    """Hydrostatic errors are one number three times; the probability is never understated."""
    rng = np.random.default_rng(1)
    calibration = StressCalibration(shape=3.0, rate=2.0)
    common, own = rng.normal(size=(200_000, 1)), rng.normal(size=(200_000, 6))
    draws = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    draws *= 0.2 / np.sqrt(rng.gamma(3.0, 0.5, (200_000, 1)))
    for threshold in (0.4, 0.8):
        found = float((np.abs(draws) > threshold).any(1).mean())
        bound = calibration.exceedance(0.2 * ONES, threshold)
        assert found <= 1.02 * bound
        assert bound <= 6.3 * found


def test_a_std_that_is_no_number_always_asks():
    broken = ONES.copy()
    broken[0, 2] = np.nan
    assert StressCalibration().exceedance(broken, 1e9) == 1.0
    assert StressCalibration().exceedance(0.0 * ONES, 1e-3) == 0.0
    assert StressCalibration().exceedance(1e3 * ONES, 1e-3) == 1.0


def test_what_is_impossible_is_refused():
    calibration = StressCalibration()
    for values in ({"shape": 0.0}, {"rate": -1.0}, {"correlation": 2.0}, {"n": -1.0}):
        with pytest.raises(ValueError, match="must be"):
            StressCalibration(**values)
    with pytest.raises(ValueError, match="shape \\(3, 3\\)"):
        calibration.update(np.ones(6), np.ones(6))
    with pytest.raises(ValueError, match="positive"):
        calibration.update(ONES, 0.0 * ONES)
    with pytest.raises(ValueError, match="finite and positive"):
        calibration.exceedance(ONES, 0.0)
    with pytest.raises(ValueError, match="negative"):
        calibration.exceedance(-ONES, 1.0)


def test_documents_keep_every_number():
    from onfly.schemas import StressCalibrationDoc

    calibration = StressCalibration().update(0.3 * ONES, ONES)
    content = json.loads(json.dumps(calibration.to_dict()))
    assert StressCalibration.from_dict(content) == calibration
    doc = StressCalibrationDoc(**content)
    assert StressCalibration(**doc.model_dump()) == calibration
    assert StressCalibration(**StressCalibrationDoc().model_dump()) == StressCalibration()


def test_the_example_is_right():
    assert doctest.testmod(stress_calibration).failed == 0
