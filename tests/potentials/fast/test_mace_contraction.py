from __future__ import annotations

import pytest
import torch

pytest.importorskip("mace")

from onfly.potentials.fast.mace_contraction import MonomialContraction
from onfly.potentials.mace_package import import_mace
from onfly.potentials.precision import default_dtype

N, CHANNELS, COMPONENTS = 5, 4, 9


@pytest.fixture(scope="module", params=["4x0e", "4x1o", "4x2e"])
def contraction(request):
    import_mace()
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    torch.manual_seed(1)
    with default_dtype(torch.float64):
        block = SymmetricContraction(
            o3.Irreps("4x0e + 4x1o + 4x2e"), o3.Irreps(request.param), 3, num_elements=2
        )
    return block.contractions[0]


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, CHANNELS, COMPONENTS, generator=generator, dtype=torch.float64)
    onehot = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 0, 1]), 2).double()
    return x.requires_grad_(), onehot


def test_equals_the_dense_contraction_with_its_second_derivatives(contraction, inputs):
    x, onehot = inputs

    def results(block):
        value = block(x, onehot)
        (first,) = torch.autograd.grad(value.square().sum(), x, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), [x, *block.parameters()])
        return value, first, *second

    sparse = MonomialContraction(contraction)
    names = [name for name, _ in contraction.named_parameters()]
    assert [name for name, _ in sparse.named_parameters()] == names
    for one, other in zip(results(sparse), results(contraction), strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_most_products_do_not_occur(contraction):
    sparse = MonomialContraction(contraction)
    assert len(sparse.table) < COMPONENTS**3 / 4
    assert (sparse.table != 0).any(1).all()
