from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onfly.analysis.events import average_around, label_frequency, time_to_nearest


def test_counts_and_ratio_by_hand():
    result = label_frequency([10, 11, 50, 90], [10, 12, 99], n_steps=100, half_window=2)
    assert (result.inside, result.outside) == (2, 2)
    assert result.steps_inside == 7 + 3  # 8 … 14 and 97 … 99
    assert result.ratio == pytest.approx((2 / 10) / (2 / 90))


def test_every_shift_gives_the_exact_p_value():
    # one label, window of 5 of 100 steps: 5 of the 100 positions are as extreme
    result = label_frequency([50], [50], n_steps=100, half_window=2)
    assert result.p_value == pytest.approx(5 / 100)


def test_binomial_and_fisher_agree_with_scipy():
    labels, events = [3, 9, 40, 41, 77], [5, 42]
    binomial = label_frequency(labels, events, 100, 4, method="binomial")
    window = set(range(1, 10)) | set(range(38, 47))
    inside = len(window & set(labels))
    expected = stats.binomtest(inside, 5, len(window) / 100, alternative="greater").pvalue
    assert binomial.p_value == pytest.approx(expected)
    fisher = label_frequency(labels, events, 100, 4, method="fisher")
    assert fisher.p_value == pytest.approx(
        stats.hypergeom.sf(inside - 1, 100, len(window), len(labels))
    )


@pytest.mark.parametrize("method", ["shift", "binomial", "fisher"])
def test_false_positive_rate_of_independent_labels(method):
    rng = np.random.default_rng(11)
    n, trials = 3000, 400
    p = np.array(
        [
            label_frequency(
                rng.choice(n, 40, replace=False),
                rng.choice(n, 30, replace=False),
                n,
                10,
                method=method,
                n_resamples=499,
                seed=k,
            ).p_value
            for k in range(trials)
        ]
    )
    # three standard errors above 5 % at 400 trials are 8.3 %
    assert np.mean(p <= 0.05) < 0.083
    assert np.mean(p <= 0.5) > 0.3  # and the test is not simply blind


def test_bursts_of_labels_fool_the_binomial_test_but_not_the_shift():
    rng = np.random.default_rng(12)
    n, trials = 4000, 300
    positives = {"shift": 0, "binomial": 0}
    for k in range(trials):
        starts = rng.integers(0, n - 40, size=6)
        labels = np.unique((starts[:, None] + 2 * np.arange(10)).ravel())
        centres = rng.integers(0, n - 60, size=8)
        events = np.unique((centres[:, None] + np.array([0, 15, 30])).ravel())
        for method in positives:
            p = label_frequency(
                labels, events, n, 10, method=method, n_resamples=499, seed=k
            ).p_value
            positives[method] += p <= 0.05
    assert positives["shift"] / trials < 0.09
    assert positives["binomial"] / trials > 0.15


def test_a_real_effect_is_found():
    rng = np.random.default_rng(13)
    n = 20_000
    events = rng.choice(n, 100, replace=False)
    near = np.clip(rng.choice(events, 60) + rng.integers(-5, 6, 60), 0, n - 1)
    labels = np.concatenate([near, rng.choice(n, 140, replace=False)])
    result = label_frequency(labels, events, n, 5)
    assert result.ratio > 3
    assert result.p_value < 0.001


def test_nothing_to_test():
    assert label_frequency([], [5], 10, 1).p_value == 1.0
    assert label_frequency([5], [], 10, 1).p_value == 1.0
    assert np.isnan(label_frequency([5], [], 10, 1).ratio)


def test_bad_input():
    with pytest.raises(ValueError, match="n_steps"):
        label_frequency([100], [5], 100, 1)
    with pytest.raises(ValueError, match="whole"):
        label_frequency([1.5], [5], 100, 1)
    with pytest.raises(ValueError, match="unknown method"):
        label_frequency([1], [5], 100, 1, method="guess")


def test_time_to_nearest_is_signed():
    assert time_to_nearest([0, 4, 6, 30], [5, 20]) == pytest.approx([-5, -1, 1, 10])
    assert np.isnan(time_to_nearest([1, 2], [])).all()


def test_average_around_events():
    values = np.zeros(50)
    values[[10, 30]] = 1.0
    values[31] = 0.5
    offset, mean, error = average_around(values, [10, 30, 49], 2)
    assert offset.tolist() == [-2, -1, 0, 1, 2]
    assert mean == pytest.approx([0, 0, 2 / 3, 0.25, 0])
    assert error[2] == pytest.approx(np.std([1, 1, 0], ddof=1) / np.sqrt(3))
