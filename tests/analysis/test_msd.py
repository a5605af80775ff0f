from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from onfly.analysis.msd import diffusion_coefficient, mean_squared_displacement, unwrap


def _walk(rng, n_frames, n_atoms, sigma):
    return np.cumsum(rng.normal(scale=sigma, size=(n_frames, n_atoms, 3)), axis=0)


def test_fft_agrees_with_the_plain_sum():
    x = _walk(np.random.default_rng(0), 60, 4, 0.3) + 50
    plain = [0.0] + [np.mean(np.sum((x[lag:] - x[:-lag]) ** 2, axis=2)) for lag in range(1, 60)]
    assert mean_squared_displacement(x) == pytest.approx(plain, rel=1e-9, abs=1e-9)
    assert mean_squared_displacement(x, max_lag=10) == pytest.approx(plain[:11], abs=1e-9)


def test_straight_motion_is_quadratic():
    t = np.arange(20.0)
    x = t[:, None, None] * np.array([[[0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]])
    assert mean_squared_displacement(x) == pytest.approx(0.01 * t**2, abs=1e-12)


def test_diffusion_of_a_random_walk():
    # <dx²> = sigma² a component and step, so D = sigma² / (2 dt)
    sigma, dt = 0.2, 5.0
    result = diffusion_coefficient(_walk(np.random.default_rng(3), 5000, 40, sigma), dt)
    expected = sigma**2 / (2 * dt)
    assert result.coefficient == pytest.approx(expected, rel=0.1)
    assert abs(result.coefficient - expected) < 4 * result.standard_error
    assert result.standard_error < 0.1 * expected
    assert result.cm2_per_s == pytest.approx(0.1 * result.coefficient)


def test_the_interval_covers_the_true_value():
    rng = np.random.default_rng(4)
    sigma, covered = 0.2, 0
    for _ in range(120):
        low, high = diffusion_coefficient(_walk(rng, 1000, 6, sigma), 1.0).interval
        covered += low <= sigma**2 / 2 <= high
    assert 0.88 <= covered / 120 <= 1.0


def test_independent_runs():
    rng = np.random.default_rng(5)
    runs = [_walk(rng, 2000, 10, 0.1) for _ in range(5)]
    result = diffusion_coefficient(runs, 1.0, n_blocks=1)
    assert result.blocks.shape == (5,)
    assert result.coefficient == pytest.approx(0.005, rel=0.2)


def test_bound_particles_do_not_diffuse():
    x = np.random.default_rng(6).normal(scale=0.1, size=(2000, 20, 3))
    result = diffusion_coefficient(x, 1.0)
    assert abs(result.coefficient) < 1e-5


@pytest.mark.parametrize("changing_cell", [False, True])
def test_unwrap_undoes_wrapping(changing_cell):
    rng = np.random.default_rng(8)
    cell = np.array([[8.0, 0, 0], [2.0, 7.0, 0], [0.5, -1.0, 9.0]])
    true = 3 + _walk(rng, 300, 5, 0.3)
    frames = []
    for t, x in enumerate(true):
        scale = 1 + 0.02 * np.sin(t / 20) * changing_cell
        atoms = Atoms("H5", positions=x, cell=cell * scale, pbc=True)
        atoms.wrap()
        frames.append(atoms)
    result = unwrap(frames)
    crossed = np.abs(frames[-1].positions - true[-1]).max() > 5
    assert crossed
    if changing_cell:
        # the boundary jump differs between cells, the diffusive motion does not
        steps = np.abs(np.diff(result, axis=0)).max()
        assert steps < 2.5
    else:
        assert result - result[0] == pytest.approx(true - true[0], abs=1e-8)


def test_unwrap_removes_drift():
    frames = [Atoms("HO", positions=[[0, 0, t], [0, 1 + 0.1 * t, t]]) for t in range(5)]
    result = unwrap(frames, remove_drift=True)
    masses = frames[0].get_masses()
    centre = np.einsum("tax,a->tx", result, masses) / masses.sum()
    assert np.ptp(centre, axis=0) == pytest.approx([0, 0, 0], abs=1e-12)
    assert result[-1, 1, 1] - result[-1, 0, 1] == pytest.approx(1.4)


def test_bad_input():
    with pytest.raises(ValueError, match="shape"):
        mean_squared_displacement(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="too short"):
        diffusion_coefficient(np.zeros((20, 1, 3)), 1.0)
    with pytest.raises(ValueError, match="two blocks"):
        diffusion_coefficient(np.zeros((200, 1, 3)), 1.0, n_blocks=1)
    with pytest.raises(ValueError, match="changes"):
        unwrap([Atoms("H"), Atoms("H2")])
