from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
from targets import LinearGaussianTarget, PairPotential, cycle, linear_target, pair_target

from onfly.bayes import (
    ChainDivergedError,
    CyclicSchedule,
    GaussianPrior,
    PrioritySampler,
    SGHMCPosterior,
    adam,
    run_cycle,
)
from onfly.bayes.heads import head_parameters


def repeated(k: int) -> LinearGaussianTarget:
    base = linear_target(3000)
    return LinearGaussianTarget(base.x.repeat(k, 1), base.y.repeat(k), base.noise_std, 3000)


def test_more_identical_labels_narrow_the_posterior():
    widths = []
    for k in (1, 4):
        target = repeated(k)
        sample, _ = cycle(target, batch_size=10 * target.n_data)
        _, covariance = target.posterior(0.5)
        width = sample["theta"].var(0)
        assert torch.allclose(width, covariance.diagonal(), rtol=0.15)
        widths.append(width)
    assert (widths[1] < 0.5 * widths[0]).all()


@pytest.mark.parametrize("prior_std", [1e-6, 1e-9])
def test_narrow_prior_returns_the_foundation(prior_std):
    posterior = SGHMCPosterior(n_members=2, n_steps=150, prior_std=prior_std)
    potential = PairPotential()
    state, _ = posterior.update(
        posterior.initial(potential, ("narrow",)), functools.partial(pair_target, 3),
        seed_key=("narrow",), generation=1,
    )  # fmt: skip
    for member in state.members:
        for name, value in potential.parameters().items():
            assert (member[name] - value).abs().max() < 6 * prior_std


def test_the_fit_improves_unseen_energies():
    target, unseen = pair_target(8), pair_target(20)
    start = target.reference()
    fitted, trace = cycle(target, n_steps=600, step_size=1e-2)
    indices = list(range(8, 20))

    def rmse(params):
        batch, labels = unseen.batch(indices)
        error = unseen.potential.evaluate(params, batch, forces=False).energy - labels.energy
        return float(error.square().mean().sqrt())

    assert rmse(fitted) < 0.5 * rmse(start)
    assert np.mean(trace.log_likelihood[-5:]) > np.mean(trace.log_likelihood[:5])


def with_heads(target):
    """The target's reference, with heads whose last layer has learned something."""
    params = target.reference() | head_parameters(
        6, torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return params | {"head.2.bias": torch.full((1,), 2.0, dtype=torch.float64)}


@pytest.mark.parametrize("optimizer", ["sghmc", "adam"])
def test_heads_are_learned_where_the_parameters_hold_them(optimizer):
    target = pair_target(4)
    for start in (target.reference(), with_heads(target)):
        sample, _ = cycle(target, n_steps=30, burn_in=1.0, optimizer=optimizer, start=start)
        assert sample.keys() == start.keys()
        assert not torch.equal(sample["w1"], start["w1"])
        if "head.0.weight" in start:
            assert not torch.equal(sample["head.0.weight"], start["head.0.weight"])


def test_adam_fits_better_than_the_sampler_without_noise():
    """From the same start, in as many steps: this is why there are two."""
    target = pair_target(8)

    def loss(optimizer, **options):
        sample, _ = cycle(target, n_steps=100, burn_in=1.0, optimizer=optimizer, **options)
        return -float(target.log_likelihood(sample, range(8)).mean())

    assert loss("adam", beta=0.99, eps=1e-8) < loss("sghmc")


def test_trace_goes_into_json():
    _, trace = cycle(linear_target(), n_steps=200)
    loaded = json.loads(json.dumps(trace.as_dict()))
    assert loaded["step"][0] == 0
    assert loaded["step"][-1] == 199
    assert loaded["temperature"][-1] == 1.0
    assert len(loaded["step"]) <= 60


def test_start_is_not_changed():
    target = linear_target()
    start = {"theta": torch.ones(4, 3, dtype=torch.float64)}
    cycle(target, n_steps=20, start=start)
    assert torch.equal(start["theta"], torch.ones(4, 3, dtype=torch.float64))


def test_divergence_is_a_clear_error():
    target = pair_target(2)
    target._energies[1] = 1e200
    with pytest.raises(ChainDivergedError, match="smaller step size"):
        cycle(target, n_steps=50)


def test_sampler_must_fit_the_labels():
    target = linear_target()
    prior = GaussianPrior.around(target.reference(), 0.5)
    with pytest.raises(ValueError, match="labels"):
        run_cycle(
            target, prior, target.reference(), CyclicSchedule(5), PrioritySampler(7, 5),
            adam.transform(), torch.Generator(),
        )  # fmt: skip
