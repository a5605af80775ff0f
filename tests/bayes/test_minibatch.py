from __future__ import annotations

import itertools
import math

import pytest
import torch

from onfly.bayes import PrioritySampler


@pytest.mark.parametrize("n_data", range(1, 13))
@pytest.mark.parametrize("n_new", [1, 3])
def test_estimate_is_unbiased_by_enumeration(n_data, n_new):
    """Sum over all multisets of 5 draws, each with its multinomial probability."""
    sampler = PrioritySampler(n_data, 5, n_new=min(n_new, n_data))
    q = sampler.probabilities().tolist()
    values = torch.tensor([(-1.3) ** k + 0.1 * k for k in range(n_data)], dtype=torch.float64)
    expectation, total = 0.0, 0.0
    for drawn in itertools.combinations_with_replacement(range(n_data), 5):
        indices, counts = torch.unique(torch.tensor(drawn), return_counts=True)
        probability = math.factorial(5) * math.prod(q[i] for i in drawn)
        for count in counts.tolist():
            probability /= math.factorial(count)
        weights = sampler.weights(counts, indices)
        expectation += probability * float((weights * values[indices]).sum())
        total += probability
    assert total == pytest.approx(1.0, abs=1e-12)
    assert expectation == pytest.approx(float(values.mean()), abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
@pytest.mark.parametrize("n_data", [1, 2, 7, 300])
def test_newest_once_per_batch_and_old_ones_possible(n_data, batch_size):
    sampler = PrioritySampler(n_data, batch_size)
    q = sampler.probabilities()
    assert float(q.sum()) == pytest.approx(1.0)
    assert float(q.min()) > 0
    expected = max(1.0, batch_size / n_data)
    if batch_size == 1 and n_data > 1:
        expected = 0.5
    assert float(q[-1]) * batch_size == pytest.approx(expected)


def test_draws_follow_the_probabilities():
    sampler = PrioritySampler(6, 5, n_new=2)
    generator = torch.Generator().manual_seed(1)
    values = torch.arange(6, dtype=torch.float64) ** 2
    n, total, newest = 20_000, 0.0, 0
    for _ in range(n):
        indices, weights = sampler.draw(generator)
        assert indices.unique().numel() == indices.numel() == weights.numel()
        total += float((weights * values[indices]).sum())
        newest += int((indices >= 4).any())
    q_new = float(sampler.probabilities()[4:].sum())
    assert total / n == pytest.approx(float(values.mean()), rel=0.02)
    assert newest / n == pytest.approx(1 - (1 - q_new) ** 5, abs=0.015)


def test_same_generator_same_draws():
    sampler = PrioritySampler(9, 5)
    first, second = (sampler.draw(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("arguments", [(0, 5), (3, 0), (3, 5, 4), (3, 5, -1)])
def test_impossible_samplers_are_refused(arguments):
    with pytest.raises(ValueError):
        PrioritySampler(*arguments)
