from __future__ import annotations

import numpy as np
import pytest
import torch
from targets import LinearForcesTarget, pair_target

from onfly.bayes.force_scale import fit, force_errors, solve
from onfly.bayes.last_layer_rows import directions

KEY = ("test", "force scale")


def factor(size: int = 5) -> torch.Tensor:
    rows = torch.randn(20, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.linalg.cholesky(rows.T @ rows)


def observe(scale: float, noise: float, n_labels: int, claimed: float | None = None):
    """Errors of labels of a Gaussian with this scale and noise."""
    lower = factor()
    target = LinearForcesTarget(n_labels, lower, scale, noise)
    claimed = noise if claimed is None else claimed
    found = [force_errors(target, [{}], lower[None], claimed, i, KEY) for i in range(n_labels)]
    return torch.cat(found)


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_scale_of_gaussian_errors_is_recovered(scale, noise):
    assert fit(observe(scale, noise, 200), 0.1) == pytest.approx(scale, rel=0.15)


def test_scale_is_never_below_its_start():
    assert fit(observe(0.2, 0.1, 200), 1.0) == 1.0


def test_noise_is_not_taken_for_scale():
    """Errors that are all noise say that s is small, unless nobody knew of the noise."""
    known, unknown = (fit(observe(1e-3, 1.0, 30, claimed), 0.1) for claimed in (1.0, 1e-3))
    assert known < 0.5
    assert unknown > 2.0


def test_without_errors_it_is_where_it_starts():
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    assert fit(nothing, 3.0) == pytest.approx(3.0)
    assert fit(nothing, 0.02) == pytest.approx(0.02)


def test_two_labels_overrule_the_start():
    """A posterior whose std is 5 times too small is found out by two labels."""
    found = [fit(observe(5.0, 0.05, 200)[16 * i : 16 * (i + 1)], 1.0) for i in range(20)]
    assert np.median(found) > 3.5
    assert min(found) > 1.5


def test_solve_is_the_quadratic_form():
    lower = factor()
    vectors = torch.randn(2, 3, 5, dtype=torch.float64)
    inverse = torch.linalg.inv(lower @ lower.T)
    found = solve(torch.stack([lower, 2.0 * lower]), vectors)
    expected = torch.einsum("mbi,ij,mbj->mb", vectors, inverse, vectors)
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1] / 4.0)


def test_directions_are_unit_vectors_of_the_label():
    target = pair_target(2)
    chosen = directions(target, 1, 3, KEY)
    assert chosen.shape == (3, 4, 3)
    assert np.allclose(np.linalg.norm(chosen, axis=(1, 2)), 1.0)
    assert np.array_equal(chosen, directions(target, 1, 3, KEY))
    assert not np.allclose(chosen, directions(target, 0, 3, KEY))
