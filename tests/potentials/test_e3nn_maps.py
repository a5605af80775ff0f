from __future__ import annotations

import pytest
import torch

pytest.importorskip("mace", exc_type=ImportError)

from onfly.potentials.mace_linear import (
    Harmonics,
    LinearMap,
    PolynomialEnvelope,
    Reshape,
    with_direct_maps,
)

from onfly.potentials.mace_loading import import_mace
from onfly.potentials.precision import default_dtype

N = 5


@pytest.fixture(scope="module")
def o3():
    import_mace()
    from e3nn import o3

    torch.manual_seed(0)
    with default_dtype(torch.float64):
        yield o3


def derivatives(function, x, parameters=()):
    """Return a value with its first and second derivatives, which are not all zero."""
    value = function(x)
    (first,) = torch.autograd.grad((value**3).sum(), x, create_graph=True)
    return value, first, *torch.autograd.grad(first.square().sum(), [x, *parameters])


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)


def rows(width):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, width, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("4x0e", "3x0e"),
        ("4x0e + 4x1o + 4x2e", "3x0e + 3x1o + 3x2e"),
        ("4x0e + 2x0e + 4x1o", "3x0e + 5x1o"),
        ("4x0e + 4x1o", "3x0e"),
        ("4x1o", "2x1o"),
    ],
)
def test_linear_maps(o3, inputs, outputs):
    reference = o3.Linear(inputs, outputs)
    own = LinearMap(reference).double()
    assert [n for n, _ in own.named_parameters()] == ["weight"]
    x = rows(reference.irreps_in.dim)
    assert_equal(derivatives(own, x, [own.weight]), derivatives(reference, x, [own.weight]))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [("4x0e", "3x0e"), ("4x0e + 4x1o", "4x0e + 4x1o"), ("4x0e + 2x1o", "4x0e + 3x1o")],
)
def test_maps_of_each_element(o3, inputs, outputs):
    reference = o3.FullyConnectedTensorProduct(inputs, "3x0e", outputs)
    own = LinearMap(reference).double()
    onehot = torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 2, 2]), 3).double()
    x = rows(reference.irreps_in1.dim)
    assert_equal(
        derivatives(lambda x: own(x, onehot), x, [own.weight]),
        derivatives(lambda x: reference(x, onehot), x, [own.weight]),
    )


@pytest.mark.parametrize("order", [0, 1, 3])
def test_harmonics(o3, order):
    reference = o3.SphericalHarmonics(
        o3.Irreps.spherical_harmonics(order), normalize=True, normalization="component"
    )
    own = Harmonics(reference).double()
    x = rows(3)
    if order == 0:
        torch.testing.assert_close(own(x), torch.ones_like(x[:, :1]))
        return
    assert_equal(derivatives(own, x), derivatives(reference, x))


def test_cutoff(o3):
    from mace.modules.radial import PolynomialCutoff

    reference = PolynomialCutoff(4.5, 5)
    x = torch.linspace(0.3, 4.9, N, dtype=torch.float64)[:, None].requires_grad_()
    assert_equal(derivatives(PolynomialEnvelope(reference), x), derivatives(reference, x))
    assert PolynomialEnvelope(reference)(x)[-1] == 0


def test_reshape(o3):
    from mace.modules.irreps_tools import reshape_irreps

    irreps = o3.Irreps("4x0e + 4x1o + 4x2e")
    x = rows(irreps.dim)
    assert torch.equal(Reshape(irreps)(x), reshape_irreps(irreps)(x))


def test_what_is_not_understood_remains(o3):
    model = torch.nn.ModuleDict(
        {"bias": o3.Linear("4x0e", "3x0e", biases=True), "plain": o3.Linear("4x0e", "3x0e")}
    )
    before = model["bias"]
    with_direct_maps(model)
    assert model["bias"] is before
    assert isinstance(model["plain"], LinearMap)
