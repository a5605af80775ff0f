from __future__ import annotations

import pytest
import torch
from scipy.stats import norm

from onfly.bayes import GaussianPrior
from onfly.bayes.flat import FlatParams
from onfly.bayes.prior import NegativeLogPosterior


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


def test_log_prob():
    prior = GaussianPrior.around(params(), 0.5, scale={"b": 0.2}, head_std=2.0)
    assert prior.std == {"w": 0.5, "b": 0.1, "head.0.weight": 2.0}
    at = {k: (v + 0.3).requires_grad_() for k, v in params().items()}
    expected = sum(
        norm.logpdf(at[k].detach(), prior.mean[k], prior.std[k]).sum() for k in prior.mean
    )
    assert float(prior.log_prob(at)) == pytest.approx(expected, rel=1e-12)


def test_gradient_of_the_negative_log_posterior():
    """Per label: of N = 4 labels with a likelihood that is linear in some of the parameters."""
    prior = GaussianPrior.around(params(), 0.5, scale={"b": 0.2}, head_std=2.0)
    at = {k: (v + 0.3).requires_grad_() for k, v in params().items()}
    slopes = {"w": torch.full((4, 3), 2.0, dtype=torch.float64), "head.0.weight": None}
    (-prior.log_prob(at) / 4 - (slopes["w"] * at["w"]).sum()).backward()
    flat = FlatParams.of(at)
    closed = NegativeLogPosterior.of(prior, flat, 4).gradient(flat, slopes)
    for name, value in at.items():
        assert torch.allclose(closed[name], value.grad, rtol=1e-10), name


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
