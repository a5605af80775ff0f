from __future__ import annotations

import torch

from onfly.bayes import adam, sghmc
from onfly.bayes.flat import FlatParams


def test_equals_the_optimizer_of_torch():
    generator = torch.Generator().manual_seed(0)
    start = {
        "a": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "b": torch.randn(5, generator=generator, dtype=torch.float64),
    }
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(leaves.values(), betas=(0.9, 0.95), eps=1e-8)
    state = sghmc.init(start)
    for i in range(30):
        rate = 1e-2 / (1 + i)
        optimizer.param_groups[0]["lr"] = rate
        grads = {
            name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
            for name, value in start.items()
        }
        for name, leaf in leaves.items():
            leaf.grad = grads[name]
        optimizer.step()
        state = adam.step(state, FlatParams.of(grads), step_size=rate, friction=0.1, beta=0.95)
    assert state.step == 30
    for name, leaf in leaves.items():
        assert not torch.allclose(leaf, start[name])
        torch.testing.assert_close(state.params[name], leaf.detach(), rtol=1e-12, atol=1e-12)


def test_parameters_without_gradient_stay():
    state = sghmc.init({"a": torch.ones(3), "b": torch.ones(2)})
    for _ in range(5):
        grads = FlatParams.of({"a": torch.ones(3), "b": torch.zeros(2)})
        state = adam.step(state, grads, step_size=1e-2)
    assert torch.equal(state.params["b"], torch.ones(2))
    assert (state.params["a"] < 1.0).all()
