from __future__ import annotations

import pytest
import torch
from ase.build import bulk
from targets import PairPotential, argon

from onfly.learning import slopes
from onfly.learning.slopes import feature_slopes
from onfly.potentials import load_foundation


@pytest.fixture(scope="module")
def crystals():
    frames = []
    for seed in range(2):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return frames


def toy(frames):
    potential = load_foundation("toy", elements=["Cu"])
    return potential, potential.collate([potential.graph(atoms) for atoms in frames])


@pytest.mark.parametrize("pairs", [0, 10**6])
def test_equals_forces_and_stress_of_a_linear_readout(crystals, monkeypatch, pairs):
    """Passes together or one by one: the toy's energy is linear in its features, but for a pair."""
    monkeypatch.setattr(slopes, "BATCHED_PAIRS", pairs)
    monkeypatch.setattr(slopes, "PASSES", 3)
    potential, batch = toy(crystals)
    params = potential.parameters()
    other = params | {"readout.weight": params["readout.weight"] + 0.3}
    first, second = (potential.evaluate(p, batch, stress=True) for p in (params, other))
    change = torch.full((4, 16), 0.3, dtype=torch.float64)
    force, stress = feature_slopes(potential, params, batch, change, stress=True)
    assert force.shape == (4, 8, 3)
    assert stress.shape == (4, 2, 3, 3)
    assert torch.allclose(force[3], second.forces - first.forces)
    assert torch.allclose(stress[3], second.stress - first.stress)
    each, none = feature_slopes(potential, params, batch)
    assert none is None
    assert torch.allclose(torch.einsum("sf,fni->sni", change, each), force)


def test_differences_equal_the_derivative(crystals, monkeypatch):
    """A potential that is no function of pair vectors is differentiated numerically."""
    potential, batch = toy(crystals)
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    params = potential.parameters()
    exact = feature_slopes(potential, params, batch, weights, stress=True)
    numeric = slopes._by_differences(potential, params, weights, True, crystals)
    for a, b in zip(exact, numeric, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_differences_need_the_configurations():
    potential = PairPotential()
    batch = potential.collate([potential.graph(argon(0))])
    with pytest.raises(ValueError, match="pair need the configurations"):
        feature_slopes(potential, potential.parameters(), batch)
