from __future__ import annotations

import pytest
import torch

pytest.importorskip("mace", exc_type=ImportError)

from onfly.potentials.fast.e3nn_convolution import Convolution, Neighbors, Radial
from onfly.potentials.mace_package import import_mace
from onfly.potentials.precision import default_dtype

N = 4


@pytest.fixture(scope="module", params=["6x0e", "6x0e + 6x1o", "6x1o + 4x0e + 6x2e"])
def blocks(request):
    import_mace()
    from e3nn import nn, o3
    from mace.modules.irreps_tools import tp_out_irreps_with_instructions

    torch.manual_seed(0)
    inputs = o3.Irreps(request.param)
    harmonics = o3.Irreps.spherical_harmonics(2)
    with default_dtype(torch.float64):
        out, instructions = tp_out_irreps_with_instructions(
            inputs, harmonics, o3.Irreps("6x0e + 6x1o + 6x2e")
        )
        product = o3.TensorProduct(
            inputs,
            harmonics,
            out,
            instructions=instructions,
            shared_weights=False,
            internal_weights=False,
        )
        net = nn.FullyConnectedNet([5, 7, 8, product.weight_numel], torch.nn.functional.silu)
    return product, net


def arguments(product):
    """Pairs between all atoms but the last, and two between the same atoms."""
    generator = torch.Generator().manual_seed(1)
    pairs = [(0, 1), (0, 1), (0, 2), (1, 0), (1, 0), (1, 2), (2, 0), (2, 1)]
    receiver, sender = (torch.tensor(side) for side in zip(*pairs, strict=True))
    slots = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [8, 8, 8]])
    table = Neighbors(
        sender, receiver, torch.cat([sender, torch.zeros(1, dtype=torch.int64)])[slots], slots % 8
    )
    x, y, basis = (
        torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()
        for size in ((N, product.irreps_in1.dim), (8, product.irreps_in2.dim), (8, 5))
    )
    return x, y, basis, slots, table


def test_equals_the_product_of_e3nn_with_its_second_derivatives(blocks):
    product, net = blocks
    x, y, basis, slots, table = arguments(product)

    def derivatives(value):
        first = torch.autograd.grad(value.square().sum(), [x, y, basis], create_graph=True)
        total = sum(g.square().sum() for g in first)
        return value, *first, *torch.autograd.grad(total, [x, y, *net.parameters()])

    def reference():
        rows = product(x[table.sender], y, net(basis))
        return rows.new_zeros(N, rows.shape[1]).index_add(0, table.receiver, rows)

    def ours(convolution, radial):
        attributes = torch.cat([y, y.new_zeros(1, y.shape[1])])[slots]
        return convolution(x, attributes, radial(basis), table)

    expected = derivatives(reference())
    plain = Convolution(product).double()
    fused = Convolution(product).double()
    radial = Radial(net, fused).double()
    assert [n for n, _ in radial.named_parameters()] == [n for n, _ in net.named_parameters()]
    for found in (derivatives(ours(plain, net)), derivatives(ours(fused, radial))):
        for one, other in zip(found, expected, strict=True):
            assert other.abs().max() > 1e-3
            torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_products_of_another_form_are_errors():
    from e3nn import o3

    product = o3.FullyConnectedTensorProduct("2x0e", "2x0e", "2x0e")
    with pytest.raises(ValueError, match="unknown form"):
        Convolution(product)
