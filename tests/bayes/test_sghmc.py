from __future__ import annotations

import math

import pytest
import torch
from targets import LinearGaussianTarget, pair_target
from torch import Tensor

from onfly.bayes import GaussianPrior, PrioritySampler, sghmc
from onfly.bayes.heads import head_parameters
from onfly.bayes.precondition import update_second_moment
from onfly.bayes.prior import NegativeLogPosterior


def stationary_samples(
    target: LinearGaussianTarget,
    *,
    prior_std: float,
    step_size: float,
    n_burn: int,
    n_steps: int,
    every: int,
    batch_size: int | None = None,
) -> Tensor:
    """Run many independent copies at temperature 1; return samples of shape (S, copies, D)."""
    prior = GaussianPrior.around(target.reference(), prior_std)
    state = sghmc.init(target.reference())
    generator = torch.Generator().manual_seed(17)
    n = target.n_data
    posterior = NegativeLogPosterior.of(prior, state.params, n)
    everything = torch.arange(n), torch.full((n,), 1.0 / n, dtype=torch.float64)
    samples = []
    for i in range(n_burn + n_steps):
        if batch_size is None:
            _, grads = target.value_and_grad(state.params, *everything)
        else:
            grads = minibatch_gradient(target, state.params, batch_size, generator)
        state = sghmc.step(
            state,
            posterior.gradient(state.params, grads),
            n_data=n,
            step_size=step_size,
            temperature=1.0,
            generator=generator,
            inplace=True,
        )
        if i >= n_burn and i % every == 0:
            samples.append(state.params["theta"].clone())
    return torch.stack(samples)


def minibatch_gradient(target, params, batch_size, generator):
    """A minibatch of its own for each copy, or the copies would not be independent."""
    sampler = PrioritySampler(target.n_data, batch_size)
    drawn = torch.multinomial(
        sampler.probabilities(),
        target.n_copies * batch_size,
        replacement=True,
        generator=generator,
    )
    weights = sampler.weights(torch.ones_like(drawn), drawn).view(-1, batch_size)
    x, y = (v[drawn].view(-1, batch_size, *v.shape[1:]) for v in (target.x, target.y))
    residual = y - torch.einsum("cbd,cd->cb", x, params["theta"])
    return {"theta": torch.einsum("cb,cbd->cd", weights * residual, x) / target.noise_std**2}


def check_moments(samples, mean, covariance, inflation=1.0):
    """Means within 3 % of a posterior std, variances within 5 %."""
    std = covariance.diagonal().sqrt()
    assert ((samples.mean((0, 1)) - mean).abs() / std).max() < 0.03
    variance = (samples - mean).square().mean((0, 1))
    assert (variance / (covariance.diagonal() * inflation) - 1).abs().max() < 0.05


def test_one_dimensional_gaussian():
    target = LinearGaussianTarget(
        torch.ones(1, 1).double(), torch.tensor([0.7]).double(), noise_std=0.1, n_copies=4000
    )
    samples = stationary_samples(
        target, prior_std=0.2, step_size=1e-3, n_burn=3000, n_steps=6000, every=100
    )
    check_moments(samples, *target.posterior(0.2))


def test_twenty_dimensional_correlated_gaussian():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(30, 20, generator=generator, dtype=torch.float64)
    y = torch.randn(30, generator=generator, dtype=torch.float64)
    target = LinearGaussianTarget(x, y, noise_std=0.5, n_copies=500)
    mean, covariance = target.posterior(0.5)
    std = covariance.diagonal().sqrt()
    correlation = covariance / (std[:, None] * std)
    assert (correlation - torch.eye(20)).abs().max() > 0.5
    samples = stationary_samples(
        target, prior_std=0.5, step_size=1e-2, n_burn=4000, n_steps=8000, every=100
    )
    check_moments(samples, mean, covariance)
    flat = (samples - mean).flatten(0, 1)
    sampled = flat.T @ flat / len(flat)
    assert ((sampled - covariance) / (std[:, None] * std)).abs().max() < 0.05


def test_bayesian_linear_regression_with_minibatches():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(50, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([0.5, -0.3, 0.2, 0.0], dtype=torch.float64) + 0.5 * noise
    target = LinearGaussianTarget(x, y, noise_std=0.5, n_copies=1200)
    samples = stationary_samples(
        target,
        prior_std=0.5,
        step_size=1e-3,
        n_burn=7000,
        n_steps=6000,
        every=100,
        batch_size=5,
    )
    check_moments(samples, *target.posterior(0.5))


@pytest.mark.parametrize("temperature", [0.25, 1.0])
def test_large_steps_follow_the_discretised_variance(temperature):
    """s² T/(1 - h/(2 (2 - α))) with h = η/s²; a fixed m̂ by a large ε."""
    friction, eps, step_size = 0.1, 1e3, 2.5e3
    s2 = 0.5**2
    state = sghmc.init({"theta": torch.full((40_000,), 0.1, dtype=torch.float64)})
    generator = torch.Generator().manual_seed(8)
    total, count = 0.0, 0
    for i in range(600):
        state = sghmc.step(
            state, {"theta": state.params["theta"] / s2}, n_data=1, step_size=step_size,
            temperature=temperature, generator=generator, friction=friction, eps=eps, inplace=True,
        )  # fmt: skip
        if i >= 100 and i % 10 == 0:
            total += float(state.params["theta"].square().mean())
            count += 1
    preconditioner = 1.0 / (state.max_second_moment["theta"].sqrt().mean() + eps)
    h = friction * step_size * float(preconditioner) / s2
    assert 0.5 < h < 1.5
    expected = temperature * s2 / (1 - h / (2 * (2 - friction)))
    assert total / count == pytest.approx(expected, rel=0.01)
    assert total / count != pytest.approx(temperature * s2, rel=0.1)


def random_params(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.randn(7, 3, generator=generator, dtype=dtype),
        "b": torch.randn(11, generator=generator, dtype=dtype),
    }


def test_one_step_equals_the_equations_written_out():
    params = random_params(torch.float64)
    grads = {k: torch.sin(v) for k, v in params.items()}
    n, gamma, alpha, beta, eps, temperature = 4, 1e-2, 0.1, 0.9, 1e-3, 0.3
    state = sghmc.init(params)
    options = {
        "n_data": n, "step_size": gamma, "temperature": temperature,
        "friction": alpha, "beta": beta, "eps": eps,
    }  # fmt: skip
    noise = torch.Generator().manual_seed(5)
    for _ in range(2):
        state = sghmc.step(state, grads, generator=torch.Generator().manual_seed(5), **options)
    xi = torch.randn(32, generator=noise, dtype=torch.float64)
    for name, part in zip("ab", xi.split([21, 11]), strict=True):
        g, theta = grads[name], params[name].clone()
        p, v, largest = torch.zeros_like(g), torch.zeros_like(g), torch.zeros_like(g)
        for t in (1, 2):
            v = beta * v + (1 - beta) * g**2
            largest = torch.maximum(largest, v / (1 - beta**t))
            m = 1 / (largest.sqrt() + eps)
            spread = torch.sqrt(temperature * 2 / (gamma * m * n))
            p = (1 - alpha) * p - alpha * g + alpha * spread * part.view(g.shape)
            theta = theta + gamma * m * p
        assert torch.allclose(state.params[name], theta, rtol=1e-12)


def test_in_place_equals_functional_bit_for_bit():
    target = pair_target(2)
    start = target.reference() | head_parameters(
        6, torch.Generator().manual_seed(1), dtype=torch.float64
    )
    finals = []
    for inplace in (False, True):
        state = sghmc.init(start)
        generator = torch.Generator().manual_seed(2)
        for _ in range(20):
            _, grads = target.value_and_grad(
                state.params, torch.tensor([0, 1]), torch.tensor([0.5, 0.5])
            )
            before = {k: v.clone() for k, v in state.params.items()}
            new = sghmc.step(
                state, grads, n_data=2, step_size=1e-3, temperature=1.0,
                generator=generator, inplace=inplace,
            )  # fmt: skip
            if not inplace:
                assert all(torch.equal(state.params[k], before[k]) for k in before)
            state = new
        finals.append(state)
    for field in ("params", "momentum", "second_moment", "max_second_moment"):
        first, second = (getattr(final, field) for final in finals)
        assert all(torch.equal(first[k], second[k]) for k in first)


def test_start_is_cloned():
    params = random_params()
    state = sghmc.init(params)
    params["a"].zero_()
    assert state.params["a"].abs().max() > 0
    with pytest.raises(ValueError, match="no parameters"):
        sghmc.init({})


def test_parameters_without_gradient_do_not_diffuse():
    params = random_params() | {"c": torch.ones(5)}
    state = sghmc.init(params)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        state = sghmc.step(
            state, {"a": torch.ones(7, 3), "b": torch.zeros(11), "c": None},
            n_data=1, step_size=1e-3, temperature=1.0, generator=generator,
        )  # fmt: skip
    assert torch.equal(state.params["b"], params["b"])
    assert torch.equal(state.params["c"], params["c"])
    assert not torch.equal(state.params["a"], params["a"])
    assert all(bool(v.isfinite().all()) for v in state.momentum.values())


def test_amsgrad_maximum_is_monotone():
    generator = torch.Generator().manual_seed(6)
    second, largest = torch.zeros(50), torch.zeros(50)
    for step in range(1, 200):
        before = largest.clone()
        g = torch.randn(50, generator=generator) / step
        update_second_moment(second, largest, g, beta=0.99, step=step)
        assert bool((largest >= before).all())


def test_noise_grows_with_the_root_of_temperature():
    params, moves = {"a": torch.zeros(100_000)}, []
    for temperature in (0.04, 1.0):
        state = sghmc.init(params)
        state = sghmc.step(
            state, {"a": torch.full((100_000,), 1e-6)}, n_data=1, step_size=1e-3,
            temperature=temperature, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        moves.append(float(state.params["a"].std()))
    assert moves[1] / moves[0] == pytest.approx(math.sqrt(1.0 / 0.04), rel=1e-4)
