from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from safetensors import safe_open
from targets import PairPotential, argon, linear_rows_target, pair_target

from onfly.bayes import (
    ChainPool,
    LastLayerPosterior,
    LikelihoodScales,
    MemberForces,
    PosteriorState,
    posterior_from_dict,
)
from onfly.bayes.force_scale import fit, force_errors, solve
from onfly.bayes.heads import with_heads
from onfly.bayes.last_layer_rows import LabelErrors, RowNoise, gram
from onfly.bayes.row_sums import RowSums
from onfly.learning.slopes import feature_slopes

KEY = ("test", "last layer")
FAST = LastLayerPosterior(n_steps=100, step_size=1e-2)


def moments(posterior, state, atoms):
    """Predict some configurations as the loop does."""
    potential = PairPotential()
    batch = potential.collate([potential.graph(a) for a in atoms])
    energies, features = [], []
    for member in state.members:
        prediction = potential.evaluate(member, batch, forces=False)
        energies.append(prediction.energy)
        zeros = torch.zeros(len(atoms), 6, dtype=torch.float64)
        features.append(zeros.index_add(0, batch.owner, prediction.features))
    return posterior.energy_moments(state, torch.stack(energies), torch.stack(features))


@pytest.fixture(scope="module")
def initial():
    return FAST.initial(PairPotential(), KEY)


def update(posterior, initial, n_labels, **options):
    return posterior.update(
        initial, functools.partial(pair_target, n_labels), seed_key=KEY, generation=1, **options
    )


@pytest.fixture(scope="module")
def updated(initial):
    return update(FAST, initial, 4)[0]


@pytest.mark.parametrize("residual", [0.0, 0.1, 2.0])
def test_variance_is_that_of_bayesian_linear_regression(residual):
    """On rows that are exactly linear: ridge and noise as in the closed formula."""
    target = linear_rows_target(12, residual)
    posterior = LastLayerPosterior(n_steps=1, force_rows=0, ridge=0.01, scale=2.0)
    factor, *_ = posterior._factor(target, {}, KEY)
    # the noise is σ_E, or what the fit leaves if that is more
    rows = target.energy_rows / max(residual, target.scales.energy_std)
    gram = rows.T @ rows
    ridge = 0.01 * gram.diagonal().mean()
    covariance = torch.linalg.inv(gram + ridge * torch.eye(5))
    state = initial_state(factor)
    probe = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    _, variance = posterior.energy_moments(state, torch.zeros(1, 7), probe)
    expected = 4.0 * torch.einsum("bi,ij,bj->b", probe[0], covariance, probe[0])
    assert torch.allclose(variance, expected, rtol=1e-10)


def initial_state(factor):
    return PosteriorState("last_layer", ({},), {"factor": factor[None]})


def test_slopes_are_those_of_the_features(updated):
    target = pair_target(2)
    params = updated.members[0]
    directions = np.random.default_rng(0).normal(size=(2, 4, 3))
    directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    coarse = target.feature_slopes(params, 1, directions)
    fine = target.feature_slopes(params, 1, directions, step=1e-4)
    assert coarse.shape == (2, 6)
    assert torch.allclose(coarse, fine, rtol=0.02, atol=2e-3)


def test_more_labels_narrow_it(initial):
    narrow, wide = (update(FAST, initial, n)[0] for n in (12, 2))
    unseen = [argon(100 + s) for s in range(10)]
    ratio = moments(FAST, narrow, unseen)[1] / moments(FAST, wide, unseen)[1]
    # not for each: with more labels the fit leaves more, and that is the noise of the rows
    assert ratio.mean() < 0.7


def test_unlike_configurations_are_less_certain(updated):
    seen = moments(FAST, updated, [argon(s) for s in range(4)])[1]
    unlike = moments(FAST, updated, [argon(50, n=9), argon(51, n=12)])[1]
    assert unlike.min() > 2 * seen.max()
    # a labelled configuration is at most as uncertain as its label, or as what the fit left of it
    target = pair_target(4)
    residual, _ = residual_rms(target, updated.members[0])
    assert seen.max() < (FAST.scale * max(target.scales.energy_std, residual)) ** 2


def test_labels_that_come_together_get_more_steps(initial):
    posterior = LastLayerPosterior(n_steps=40, steps_per_new=15)
    for n_new, expected in ((1, 40), (4, 60)):
        _, info = update(posterior, initial, 4, n_new=n_new)
        assert info.traces[0]["step"][-1] + 1 == expected


def test_an_update_that_goes_on_from_a_fit_is_shorter(initial):
    posterior = LastLayerPosterior(n_steps=40, steps_per_new=15, update_steps=20)
    first, info = update(posterior, initial, 4)
    assert info.traces[0]["step"][-1] + 1 == 40
    for n_new, expected in ((1, 20), (2, 30), (4, 60)):
        _, info = update(posterior, first, 4, n_new=n_new)
        assert info.traces[0]["step"][-1] + 1 == expected
    _, info = update(LastLayerPosterior(n_steps=10, steps_per_new=0, update_steps=20), first, 4)
    assert info.traces[0]["step"][-1] + 1 == 10


def test_force_rows_narrow_it(initial):
    state, _ = update(FAST, initial, 3)
    without = LastLayerPosterior(n_steps=100, step_size=1e-2, force_rows=0)
    other, _ = update(without, initial, 3)
    assert torch.equal(state.members[0]["w1"], other.members[0]["w1"])
    unseen = [argon(100 + s) for s in range(10)]
    with_rows, energies_only = (moments(FAST, s, unseen)[1] for s in (state, other))
    assert with_rows.mean() < energies_only.mean()


def test_same_bits_again_and_with_workers(initial, updated):
    again, _ = update(FAST, initial, 4)
    with ChainPool(1) as pool:
        worker, _ = update(FAST, initial, 4, pool=pool)
    for other in (again, worker):
        assert torch.equal(other.extra["factor"], updated.extra["factor"])
        assert torch.equal(other.members[0]["w1"], updated.members[0]["w1"])


def test_narrow_prior_returns_the_foundation(initial):
    state, _ = update(LastLayerPosterior(n_steps=100, prior_std=1e-7), initial, 3)
    for name, value in PairPotential().parameters().items():
        assert (state.members[0][name] - value).abs().max() < 1e-5


def residual_rms(target, member):
    errors = target.errors(member)
    return tuple(float(e.square().mean().sqrt()) for e in (errors.energy, errors.forces))


def test_members_have_heads_only_where_they_are_learned(initial, updated):
    assert initial.members[0].keys() == PairPotential().parameters().keys()
    assert updated.members[0].keys() == initial.members[0].keys()
    learns = LastLayerPosterior(n_steps=20, learn_force_std=True)
    assert "head.0.weight" in learns.initial(PairPotential(), KEY).members[0]
    # the state of a version that gave every posterior heads
    members = with_heads(initial.members, PairPotential(), KEY)
    old, _ = update(FAST, PosteriorState("last_layer", members), 4)
    assert torch.equal(old.members[0]["w1"], updated.members[0]["w1"])
    assert old.members[0].keys() == updated.members[0].keys()


def member_forces(posterior, state, atoms, stress=False):
    """What the predictor hands to `force_moments`."""
    potential = PairPotential()
    batch = potential.collate([potential.graph(atoms)])
    weights = posterior.slope_weights(state)
    found = [potential.evaluate(m, batch, stress=stress) for m in state.members]
    slopes = [
        feature_slopes(potential, m, batch, w, stress=stress, atoms=[atoms])
        for m, w in zip(state.members, weights, strict=True)
    ]
    return MemberForces(
        forces=torch.stack([f.forces.detach() for f in found]),
        features=torch.stack([f.features.detach() for f in found]),
        species=torch.as_tensor(atoms.numbers),
        stress=torch.stack([f.stress[0].detach() for f in found]) if stress else None,
        force_slopes=torch.stack([s[0] for s in slopes]),
        stress_slopes=torch.stack([s[1][:, 0] for s in slopes]) if stress else None,
    )


def test_force_and_stress_variances_are_those_of_the_gaussian(updated):
    """All draws together give the closed formula, and what the fit left is added to forces."""
    atoms = argon(100)
    target, member = pair_target(4), updated.members[0]
    parts = member_forces(FAST, updated, atoms, stress=True)
    mean, variance = FAST.force_moments(updated, parts)
    assert mean.shape == variance.shape == (4, 3)
    _, residual = residual_rms(target, member)
    directions = np.eye(12).reshape(12, 4, 3)
    target.atoms[0] = atoms
    slopes = target.feature_slopes(member, 0, directions, step=1e-4)
    s = FAST.scale
    expected = s**2 * solve(updated.extra["factor"], slopes[None])[0] + residual**2
    assert torch.allclose(variance.flatten(), expected, rtol=1e-3)
    _, stress_variance = FAST.stress_moments(updated, parts)
    rows = feature_slopes(
        target.potential, member, None, None, stress=True, atoms=[atoms]
    )[1].movedim(0, -1).reshape(1, 9, 6)  # fmt: skip
    expected = s**2 * solve(updated.extra["factor"], rows)[0]
    assert torch.allclose(stress_variance.flatten(), expected, rtol=1e-6)


def test_force_variances_differ_from_atom_to_atom_and_grow_far_away(updated):
    seen = FAST.force_moments(updated, member_forces(FAST, updated, argon(1)))[1]
    unlike = FAST.force_moments(updated, member_forces(FAST, updated, argon(50, n=9)))[1]
    assert len(unlike.unique()) == unlike.numel()
    assert unlike.mean() > 2 * seen.mean()


def test_few_draws_estimate_all(updated):
    atoms = argon(100)
    few = LastLayerPosterior(n_steps=100, step_size=1e-2, force_draws=3)
    assert few.slope_weights(updated).shape == (1, 3, 6)
    one, all_ = (p.force_moments(updated, member_forces(p, updated, atoms))[1] for p in (few, FAST))
    assert 0.3 < float(one.sum() / all_.sum()) < 3.0
    assert not torch.allclose(one, all_)


def test_noise_of_a_species_is_what_the_fit_left_of_it():
    errors = LabelErrors(
        torch.zeros(2).double(),
        torch.cat([torch.full((400, 3), 0.5), torch.full((2, 3), 5.0)]).double(),
        torch.zeros(0, 3, 3).double(),
        torch.tensor([1] * 400 + [8] * 2),
    )
    noise = RowNoise.of(errors, LikelihoodScales(0.3))
    assert noise.species.tolist() == [1, 8]
    assert float(noise.species_force[0]) == pytest.approx(0.5, rel=0.02)
    # six components of oxygen do not yet stand for themselves
    assert 1.5 < float(noise.species_force[1]) < 4.0


def test_a_strain_is_seen_by_stress_rows():
    """Without them the Gaussian is blind to it: a strained cell is more certain with them."""
    target, member = pair_target(6), PairPotential().parameters()
    noise = RowNoise.of(target.errors(member), target.scales)
    sums = RowSums.updated(None, target, [member])
    with_stress = sums.gram(0, target.summed_features(member), noise)
    energy, (force, stress) = target.summed_features(member), target.rows(member, range(6))
    assert stress.shape == (54, 6)
    total = sum(
        rows.T @ rows / std**2
        for rows, std in ((energy, noise.energy), (force, noise.force), (stress, noise.stress))
    )
    assert torch.allclose(with_stress, total)


def test_random_directions_have_the_weight_of_all_components():
    target, member = pair_target(5), PairPotential().parameters()
    for i in range(5):
        target._stresses[i] = None
    noise = RowNoise.of(target.errors(member), target.scales)
    every = RowSums.updated(None, target, [member]).gram(0, target.summed_features(member), noise)
    some = gram(target, member, noise, force_rows=400, seed_key=KEY)
    assert torch.allclose(some.diagonal(), every.diagonal(), rtol=0.15)


def test_spread_of_members_is_added():
    posterior = LastLayerPosterior(n_members=3, n_steps=60, step_size=1e-2)
    state, _ = update(posterior, posterior.initial(PairPotential(), KEY), 3)
    assert state.extra["factor"].shape == (3, 6, 6)
    energies = torch.tensor([[1.0], [2.0], [3.0]])
    _, variance = posterior.energy_moments(state, energies, torch.zeros(3, 1, 6))
    assert float(variance) == pytest.approx(1.0)


def test_before_the_first_update_the_spread_means_nothing(initial):
    _mean, variance = moments(FAST, initial, [argon(0)])
    assert float(variance) == 0.0


def later_update(posterior, state, n_labels, n_new):
    factory = functools.partial(pair_target, n_labels)
    return posterior.update(state, factory, seed_key=KEY, generation=2, n_new=n_new)[0]


def test_scale_follows_the_errors_before_they_are_learned(updated):
    """The scale is what the old weights said of the new forces, whatever the chains then learn."""
    target = pair_target(6)
    factor, noise = updated.extra["factor"], float(updated.extra["noise"])
    _, residual = target_residual(4, updated)
    assert noise == pytest.approx(max(target.scales.force_std_base, residual))
    observed = torch.cat(
        [force_errors(target, updated.members, factor, noise, index, KEY) for index in (4, 5)]
    )
    state = later_update(FAST, updated, 6, 2)
    assert updated.extra["observed"].shape == (0, 3)
    assert float(updated.extra["scale"]) == pytest.approx(FAST.scale)
    assert torch.equal(state.extra["observed"], observed)
    assert float(state.extra["scale"]) == fit(observed, FAST.scale)
    one = {"factor": state.extra["factor"], "scale": torch.ones(1)}
    unscaled = PosteriorState("last_layer", state.members, one)
    unseen = [argon(100 + s) for s in range(3)]
    variance, plain = (moments(FAST, s, unseen)[1] for s in (state, unscaled))
    # the scale of energies is left to the calibration; states of version 0.2.0 have one for both
    assert torch.allclose(variance, FAST.scale**2 * plain)
    older = {name: value for name, value in state.extra.items() if name != "energy_scale"}
    before = PosteriorState("last_layer", state.members, older)
    variance = moments(FAST, before, unseen)[1]
    assert torch.allclose(variance, fit(observed, FAST.scale) ** 2 * plain)
    assert "energy_scale" not in later_update(FAST, before, 6, 1).extra
    assert "energy_scale" in later_update(FAST, state, 6, 1).extra
    slopes = torch.ones(1, 2, 1, 3)
    forces = MemberForces(
        torch.zeros(1, 1, 3), torch.zeros(1, 1, 1), torch.ones(1), force_slopes=slopes
    )
    of_forces = FAST.force_moments(PosteriorState("last_layer", state.members, one), forces)[1]
    with_scale = one | {"scale": state.extra["scale"]}
    scaled = FAST.force_moments(PosteriorState("last_layer", state.members, with_scale), forces)[1]
    assert torch.allclose(scaled, fit(observed, FAST.scale) ** 2 * of_forces)


def target_residual(n_labels, state):
    return residual_rms(pair_target(n_labels), state.members[0])


def test_scale_forgets(updated):
    short = LastLayerPosterior(n_steps=20, step_size=1e-2, scale_memory=3)
    state = later_update(short, updated, 6, 2)
    longer = later_update(short, state, 8, 2)
    assert state.extra["observed"].shape == (16, 3)
    assert longer.extra["observed"].shape == (24, 3)
    assert torch.equal(longer.extra["observed"][:8], state.extra["observed"][8:])


def test_fixed_scale(updated):
    fixed = LastLayerPosterior(n_steps=20, step_size=1e-2, scale=3.0, scale_memory=0)
    state = update(fixed, fixed.initial(PairPotential(), KEY), 4)[0]
    later = later_update(fixed, state, 6, 2)
    assert float(later.extra["scale"]) == pytest.approx(3.0)
    assert later.extra["observed"].shape == (0, 3)


def test_settings():
    assert posterior_from_dict(FAST.to_dict()) == FAST
    for bad in (
        {"n_members": 0},
        {"ridge": 0.0},
        {"scale": float("nan")},
        {"force_rows": -1},
        {"force_draws": 0},
        {"scale_memory": -1},
        {"steps_per_new": -1},
        {"update_steps": 0},
        {"optimizer": "lbfgs"},
        {"burn_in": 0.2},
    ):
        with pytest.raises(ValueError):
            LastLayerPosterior(**bad)
    with pytest.raises(ValueError, match="features"):
        FAST.energy_moments(initial_state(torch.eye(6).double()), torch.zeros(1, 1))


def test_cost_counts_the_gaussian_too(initial, tmp_path):
    """A chain that is found in the cache costs what it once cost; the rows are computed anew."""
    two = [update(FAST, initial, 4, cache_dir=tmp_path, n_workers=n)[1] for n in (1, 2)]
    (cached,) = tmp_path.glob("chain-*.safetensors")
    with safe_open(cached, "pt") as file:
        chain = float(file.metadata()["cpu_seconds"])
    assert [info.n_reused for info in two] == [0, 1]
    assert [info.n_cores for info in two] == [1, 2]
    assert all(info.cpu_seconds > chain for info in two)
