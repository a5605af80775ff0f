"""Functions of other packages are exchanged for single modules, never for the process."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from onfly.potentials import load_foundation
from onfly.potentials.rebinding import rebind, scatter_sum


def combine(x):
    return x + 1.0


class Block(nn.Module):
    def forward(self, x, *, scale=2.0):
        return scale * combine(x)


class Other(nn.Module):
    def forward(self, x):
        return x


def test_only_the_given_modules_find_the_new_function():
    model, untouched = nn.Sequential(Block(), Other(), Block()), Block()
    assert rebind(model, combine=lambda x: x - 1.0) == 2
    one = torch.ones(1)
    assert model[0](one).item() == 0.0
    assert model[0](one, scale=3.0).item() == 0.0
    assert untouched(one).item() == 4.0
    assert combine(one).item() == 2.0
    assert copy.deepcopy(model)[2](one).item() == 0.0


def test_sum_of_rows_is_out_of_place_and_refuses_what_it_is_not_for():
    rows = torch.arange(6.0).view(3, 2)
    index = torch.tensor([1, 0, 1])
    expected = torch.tensor([[2.0, 3.0], [4.0, 6.0], [0.0, 0.0]])
    assert torch.equal(scatter_sum(rows, index, dim=0, dim_size=3), expected)
    with pytest.raises(NotImplementedError):
        scatter_sum(rows, index, dim=0, dim_size=3, reduce="mean")


def test_loading_a_mace_model_changes_nothing_in_mace(mace_file, crystal):
    pytest.importorskip("mace", exc_type=ImportError)
    from mace.modules import blocks, radial
    from mace.tools import scatter

    for fast in (True, False):
        potential = load_foundation(
            {"family": "mace", "source": str(mace_file), "options": {"trust_pickle": True}},
            fast_kernels=fast,
        )
        batch = potential.collate([potential.graph(crystal)])
        potential.evaluate(potential.parameters(), batch)
        assert blocks.scatter_sum is scatter.scatter_sum
        assert radial.scatter_sum is scatter.scatter_sum
