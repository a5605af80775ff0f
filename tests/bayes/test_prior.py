from __future__ import annotations

import pytest
import torch
from scipy.stats import norm

from onfly.bayes import GaussianPrior


def params():
    generator = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "b": torch.randn(3, generator=generator, dtype=torch.float64),
        "head.0.weight": torch.randn(2, generator=generator, dtype=torch.float64),
    }


def test_mean_is_a_clone_and_zero_for_heads():
    start = params()
    prior = GaussianPrior.around(start, 0.5)
    before = prior.mean["w"].clone()
    start["w"].add_(1.0)
    assert torch.equal(prior.mean["w"], before)
    assert torch.equal(prior.mean["head.0.weight"], torch.zeros(2, dtype=torch.float64))


def test_log_prob_and_gradient():
    prior = GaussianPrior.around(params(), 0.5, scale={"b": 0.2}, head_std=2.0)
    assert prior.std == {"w": 0.5, "b": 0.1, "head.0.weight": 2.0}
    at = {k: (v + 0.3).requires_grad_() for k, v in params().items()}
    expected = sum(
        norm.logpdf(at[k].detach(), prior.mean[k], prior.std[k]).sum() for k in prior.mean
    )
    assert float(prior.log_prob(at)) == pytest.approx(expected, rel=1e-12)
    grads = torch.autograd.grad(prior.log_prob(at), list(at.values()))
    for (name, closed), automatic in zip(prior.gradient(at).items(), grads, strict=True):
        assert torch.allclose(closed, automatic, rtol=1e-10), name


def test_drift_is_in_prior_stds_without_heads():
    prior = GaussianPrior.around(params(), 0.5)
    moved = params()
    moved["w"] += 1.0
    moved["b"] += 1.0
    assert prior.drift(moved) == pytest.approx(2.0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_std_is_refused(std):
    with pytest.raises(ValueError, match="positive"):
        GaussianPrior.around(params(), std)


def test_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="unknown"):
        GaussianPrior.around(params(), 0.5, scale={"x": 2.0})
