from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from onfly.bayes.last_layer import LastLayerPosterior
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.library.energy_offset import EnergyOffset
from onfly.potentials import load_foundation
from onfly.potentials.edges import EdgePotential
from onfly.properties.draws import PotentialCalculator, posterior_draws

KEY = ("test", 1)


def predictor(n_members=1, learned=True):
    potential = load_foundation("toy", ("Cu",))
    posterior = LastLayerPosterior(n_members=n_members)
    members = posterior.initial(potential, KEY).members
    extra = {}
    if learned:
        size = potential.n_features
        random = torch.randn(size, size, generator=torch.Generator().manual_seed(2)).double()
        one = torch.linalg.cholesky(random @ random.T + torch.eye(size).double())
        extra = {"factor": torch.stack([one] * n_members), "scale": torch.tensor([3.0]).double()}
    state = PosteriorState("last_layer", members, extra)
    return Predictor(potential, posterior, state, LikelihoodScales.for_threshold(0.1, 1e-6))


def shaken():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def test_draws_spread_as_the_posterior_says():
    found, atoms = predictor(), shaken()
    draws = posterior_draws(found, 400, seed_key=KEY)
    energies = []
    for draw in draws:
        atoms.calc = draw
        energies.append(atoms.get_potential_energy())
    expected = found.predict(atoms)
    # of 400 draws the std is known to 3.5 %, the mean to 0.05 std
    assert np.std(energies) == pytest.approx(expected.energy_std, rel=0.15)
    assert np.mean(energies) == pytest.approx(expected.energy, abs=0.2 * expected.energy_std)


def test_forces_and_stress_are_the_derivatives_of_the_energy():
    draw = posterior_draws(predictor(), 2, seed_key=KEY)[1]
    atoms = shaken()
    atoms.calc = draw
    assert draw.last_layer is not None
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-5
    )
    np.testing.assert_allclose(
        atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6
    )


def test_a_potential_without_pair_vectors_gives_the_same(monkeypatch):
    draw = posterior_draws(predictor(), 2, seed_key=KEY)[0]
    atoms = shaken()
    atoms.calc = draw
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    draw.reset()
    for module in ("onfly.properties.draws", "onfly.learning.slopes"):
        monkeypatch.setattr(f"{module}.EdgePotential", type("Other", (EdgePotential,), {}))
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-5)


def test_the_same_key_gives_the_same_draws():
    first, again = (posterior_draws(predictor(2), 4, seed_key=KEY) for _ in range(2))
    other = posterior_draws(predictor(2), 4, seed_key=("test", 2))
    assert all(torch.equal(a.last_layer, b.last_layer) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].last_layer, other[0].last_layer)


def test_members_are_the_draws_of_a_sampled_posterior():
    potential = load_foundation("toy", ("Cu",))
    posterior = posterior_from_dict({"kind": "sghmc", "n_members": 3})
    state = posterior.initial(potential, KEY)
    found = Predictor(potential, posterior, state, LikelihoodScales.for_threshold(0.1, None))
    draws = posterior_draws(found, 12, seed_key=KEY)
    assert len(draws) == 3
    assert all(draw.last_layer is None for draw in draws)


def test_before_the_first_update_there_are_none():
    assert posterior_draws(predictor(learned=False), 4, seed_key=KEY) == []


def test_one_draw_has_no_spread():
    with pytest.raises(ValueError, match="at least 2"):
        posterior_draws(predictor(), 1, seed_key=KEY)


def test_the_offset_is_that_of_the_cell():
    potential = load_foundation("toy", ("Cu",))
    plain = PotentialCalculator(potential, potential.parameters())
    moved = PotentialCalculator(
        potential, potential.parameters(), offset=EnergyOffset(-8.0, {"Cu": 2})
    )
    atoms = shaken()
    difference = moved.get_potential_energy(atoms) - plain.get_potential_energy(atoms)
    assert difference == pytest.approx(16.0)
