from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onfly.bayes.calibration import Calibration
from onfly.bayes.force_calibration import ForceCalibration
from onfly.bayes.stress_calibration import StressCalibration
from onfly.dynamics.criteria import Calibrations
from onfly.properties.calibrated import PROBABILITY, clustering, spread, widening


def test_many_good_errors_leave_the_spread():
    known = Calibrations(energy=Calibration(n=10_000.0, sum_z2=10_000.0))
    factor, of = widening(known, "energy", [29])
    assert of == "energy"
    assert factor == pytest.approx(1.0, rel=5e-3)
    assert pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1)) == PROBABILITY


def test_errors_three_times_too_large_widen_it():
    known = Calibrations(stress=StressCalibration(n=1000.0, sum_z2=9000.0))
    factor, of = widening(known, "stress", [29])
    assert (of, factor) == ("stress", pytest.approx(3.0, rel=5e-3))


def test_errors_that_are_too_small_do_not_narrow_it():
    known = Calibrations(stress=StressCalibration(n=1000.0, sum_z2=100.0))
    assert widening(known, "stress", [29]) == (1.0, "stress")


def test_forces_stand_in_for_stresses_that_were_never_compared():
    forces = ForceCalibration(species=(11, 17), n=(500.0, 500.0), sum_z2=(500.0, 4500.0), pool=0.0)
    known = Calibrations(forces=forces)
    both = widening(known, "stress", [11, 17])
    assert both[1] == "forces"
    assert both[0] == pytest.approx(np.sqrt((1 + 9) / 2), rel=0.01)
    assert widening(known, "forces", [11, 11])[0] == pytest.approx(1.0, rel=0.01)


def test_without_any_of_forces_that_of_energies():
    factor, of = widening(Calibrations(), "forces", [29])
    assert of == "energy"
    assert factor == pytest.approx(Calibration().interval(1.0, PROBABILITY))


def test_spread_is_elementwise():
    draws = [np.array([1.0, 0.0]), np.array([3.0, 0.0])]
    np.testing.assert_allclose(spread(draws, 2.0), [2 * np.sqrt(2.0), 0.0])
    assert np.isnan(spread([1.0], 2.0))
    assert np.isnan(spread([], 2.0))


def test_components_of_a_label_that_share_an_error():
    assert clustering(8, correlation=0.0) == pytest.approx(1.0)
    assert clustering(8, correlation=1.0) == pytest.approx(np.sqrt(24))
    assert clustering(8) == pytest.approx(np.sqrt(1 + 23 * 0.4))
