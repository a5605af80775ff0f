from __future__ import annotations

import numpy as np
import pytest
import torch

from onfly.bayes import energy_moments, force_moments


def test_energy_variance_is_unbiased():
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    mean, variance = energy_moments(values)
    assert mean.dtype == torch.float64
    np.testing.assert_allclose(mean, values.double().mean(0))
    np.testing.assert_allclose(variance, values.double().numpy().var(0, ddof=1))
    assert energy_moments(values[:1])[1].tolist() == [0.0] * 4


def test_force_variance_by_total_variance():
    generator = torch.Generator().manual_seed(1)
    forces = torch.randn(5, 3, 3, generator=generator, dtype=torch.float64)
    log_scale = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    mean, variance = force_moments(forces, 0.1 * log_scale.exp())
    np.testing.assert_allclose(mean, forces.mean(0))
    spread = forces.numpy().var(0, ddof=1)
    own = ((0.1 * np.exp(log_scale.numpy())) ** 2).mean(0)
    np.testing.assert_allclose(variance, spread + own[:, None])
    np.testing.assert_allclose(force_moments(forces)[1], spread)


def test_total_variance_equals_sampling_the_mixture():
    rng = np.random.default_rng(2)
    centres = torch.tensor([[[0.0] * 3], [[1.0] * 3], [[3.0] * 3]]).double()
    log_scale = torch.tensor([[0.0], [0.5], [1.0]]).double()
    member = rng.integers(0, 3, 400_000)
    scale = 0.5 * np.exp(log_scale.numpy()[member, 0])
    draws = rng.normal(centres.numpy()[member, 0, 0], scale)
    # the spread of a finite ensemble is the unbiased estimate, 3/2 of the mixture's own
    spread = np.var([0.0, 1.0, 3.0])
    expected = np.sqrt(draws.var() + spread * 0.5)
    variance = force_moments(centres, 0.5 * log_scale.exp())[1]
    assert variance[0].tolist() == pytest.approx(3 * [expected**2], rel=0.02)
