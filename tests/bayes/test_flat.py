from __future__ import annotations

import pytest
import torch

from onfly.bayes.flat import FlatParams


def params():
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([7.0]), "c": torch.ones(2)}


def test_parameters_are_views_of_a_copy():
    original = params()
    flat = FlatParams.of(original)
    assert flat.keys() == original.keys()
    assert all(torch.equal(flat[name], original[name]) for name in original)
    flat.vector.mul_(2.0)
    assert torch.equal(flat["a"], 2.0 * original["a"])
    assert torch.equal(original["b"], torch.tensor([7.0]))


def test_another_vector_takes_the_names():
    flat = FlatParams.of(params())
    other = flat.with_vector(torch.arange(9.0))
    assert torch.equal(other["c"], torch.tensor([7.0, 8.0]))
    assert {name: v.shape for name, v in other.items()} == flat.shapes


def test_gather_orders_by_name_and_fills_with_zeros():
    flat = FlatParams.of(params())
    mixed = {"c": torch.tensor([4.0, 5.0]), "a": torch.full((3, 2), 2.0).T, "b": None}
    assert flat.gather(mixed).tolist() == [2.0] * 6 + [0.0, 4.0, 5.0]
    assert flat.gather({}).tolist() == [0.0] * 9


def test_spread_repeats_a_number_for_each_element():
    spread = FlatParams.of(params()).spread({"c": 3.0, "b": 2.0, "a": 1.0})
    assert spread.tolist() == [1.0] * 6 + [2.0, 3.0, 3.0]
    assert spread.dtype == torch.float32


def test_wrong_parameters_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        FlatParams.of({})
    with pytest.raises(ValueError, match="share one type"):
        FlatParams.of(params() | {"d": torch.ones(1, dtype=torch.float64)})
    with pytest.raises(RuntimeError):
        FlatParams.of(params()).with_vector(torch.ones(4))
