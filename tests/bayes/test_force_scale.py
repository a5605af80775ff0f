from __future__ import annotations

import numpy as np
import pytest
import torch
from targets import LinearForcesTarget, pair_target

from onfly.bayes.force_scale import add, directions, force_ratio, solve, start

KEY = ("test", "force scale")


def factor(size: int = 5) -> torch.Tensor:
    rows = torch.randn(20, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.linalg.cholesky(rows.T @ rows)


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_ratio_recovers_the_scale_of_gaussian_errors(scale):
    """Errors from the claimed Gaussian: the ratio is s² on average."""
    lower = factor()
    target = LinearForcesTarget(400, lower, scale)
    ratios = [force_ratio(target, [{}], lower[None], i, KEY) for i in range(400)]
    error = np.std(ratios) / 20.0
    assert np.mean(ratios) == pytest.approx(scale**2, abs=4.0 * error)
    assert error < 0.1 * scale**2


def test_solve_is_the_quadratic_form():
    lower = factor()
    vectors = torch.randn(2, 3, 5, dtype=torch.float64)
    inverse = torch.linalg.inv(lower @ lower.T)
    found = solve(torch.stack([lower, 2.0 * lower]), vectors)
    expected = torch.einsum("mbi,ij,mbj->mb", vectors, inverse, vectors)
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1] / 4.0)


def test_scale_is_the_mean_of_the_start_and_the_ratios():
    fitted = add(add(start(2.0), 1.0, 10), 7.0, 10)
    assert fitted.tolist() == pytest.approx([4.0, 3.0])


def test_scale_forgets():
    """After many labels, one more counts as one in ten."""
    fitted = start(1.0)
    for _ in range(100):
        fitted = add(fitted, 9.0, 10)
    assert fitted[0] == pytest.approx(9.0, rel=1e-3)
    assert add(fitted, 109.0, 10)[0] == pytest.approx(19.0, rel=1e-3)


def test_a_scale_that_is_five_times_too_small_is_raised_by_a_few_labels():
    fitted = start(1.0)
    for _ in range(3):
        fitted = add(fitted, 25.0, 10)
    assert fitted[0] ** 0.5 > 4.0


def test_directions_are_unit_vectors_of_the_label():
    target = pair_target(2)
    chosen = directions(target, 1, 3, KEY)
    assert chosen.shape == (3, 4, 3)
    assert np.allclose(np.linalg.norm(chosen, axis=(1, 2)), 1.0)
    assert np.array_equal(chosen, directions(target, 1, 3, KEY))
    assert not np.allclose(chosen, directions(target, 0, 3, KEY))
