from __future__ import annotations

import pytest
import torch
from derivative_checks import assert_equal, derivatives, rows

pytest.importorskip("mace", exc_type=ImportError)

from onfly.potentials.fast.e3nn_maps import Harmonics, LinearMap, replace_modules
from onfly.potentials.mace_package import import_mace
from onfly.potentials.precision import default_dtype


@pytest.fixture(scope="module")
def o3():
    import_mace()
    from e3nn import o3

    torch.manual_seed(0)
    with default_dtype(torch.float64):
        yield o3


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("4x0e", "3x0e"),
        ("4x0e + 4x1o + 4x2e", "3x0e + 3x1o + 3x2e"),
        ("4x0e + 2x0e + 4x1o", "3x0e + 5x1o"),
        ("4x0e + 4x1o", "3x0e"),
        ("4x1o", "2x1o"),
        ("4x0e + 4x1o + 4x2e", "3x0e + 3x2e"),
        ("6x0e + 4x1e + 2x2e", "5x0e + 3x1e + 3x2e"),
        ("4x0e", "3x0e + 2x1o"),
        ("4x0e + 4x2e", "2x1o + 3x2e"),
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
    [
        ("4x0e", "3x0e"),
        ("4x0e + 4x1o", "4x0e + 4x1o"),
        ("4x0e + 2x1o", "4x0e + 3x1o"),
        ("4x0e", "3x0e + 3x1o"),
    ],
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


def test_what_is_not_understood_remains(o3):
    model = torch.nn.ModuleDict(
        {"bias": o3.Linear("4x0e", "3x0e", biases=True), "plain": o3.Linear("4x0e", "3x0e")}
    )
    before = model["bias"]
    replaced, kept = replace_modules(model)
    assert replaced == 1
    assert len(kept) == 1
    assert "bias" in kept[0]
    assert model["bias"] is before
    assert isinstance(model["plain"], LinearMap)
