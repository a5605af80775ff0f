from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from onfly.analysis.averages import autocorrelation, correlated_mean


def _ar1(phi, n, rng):
    return signal.lfilter([1], [1, -phi], rng.normal(size=n + 500))[500:]


def test_independent_samples_keep_their_number():
    x = np.random.default_rng(0).normal(size=4000)
    result = correlated_mean(x)
    assert result.standard_error == pytest.approx(1 / np.sqrt(4000), rel=0.15)
    assert result.n_effective > 3000


def test_inefficiency_of_an_autoregressive_series():
    phi = 0.9  # g = (1 + phi)/(1 - phi) = 19
    x = _ar1(phi, 200_000, np.random.default_rng(1))
    assert x.size / correlated_mean(x).n_effective == pytest.approx(19, rel=0.15)
    assert autocorrelation(x)[1] == pytest.approx(phi, abs=0.01)


def test_error_bar_covers_the_true_mean():
    rng = np.random.default_rng(2)
    z = []
    for _ in range(200):
        result = correlated_mean(_ar1(0.8, 2000, rng))
        z.append(result.mean / result.standard_error)
    assert 0.8 < np.std(z) < 1.3


def test_constant_series():
    result = correlated_mean(np.full(50, 0.1))
    assert result.mean == pytest.approx(0.1)
    assert result.standard_error == pytest.approx(0, abs=1e-12)


def test_too_few_values():
    with pytest.raises(ValueError, match="at least two"):
        correlated_mean([1.0])
