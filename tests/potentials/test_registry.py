from __future__ import annotations

import pytest
import torch

from onfly.potentials import load_foundation
from onfly.potentials.registry import FAMILIES


def test_unknown_name_is_an_error_that_gives_examples():
    with pytest.raises(ValueError, match=r"chgnet-0\.3\.0"):
        load_foundation("nonsense")


@pytest.mark.parametrize("name", ["some/model", "weights.pt2"])
def test_path_of_no_family_is_an_error(name):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_foundation(name)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("chgnet", "chgnet"),
        ("chgnet-r2scan", "chgnet"),
        ("mace-mp-medium", "mace"),
        ("mace-off-small", "mace"),
        ("/a/b/c.model", "mace"),
        ("sevennet-0", "sevennet"),
        ("/a/b/checkpoint.pth", "sevennet"),
        ("toy", "toy"),
        ("toy-12", "toy"),
        ("/a/b/c.nequip.zip", "nequip"),
        ("/a/b/eq2_31M.pt", "equiformer_v2"),
    ],
)
def test_each_name_belongs_to_one_family(name, family):
    from importlib import import_module

    matching = [key for key, module in FAMILIES.items() if import_module(module).matches(name)]
    assert matching == [family]


def test_toy_weights_depend_on_the_seed_only():
    one, same, other = (load_foundation(n).parameters() for n in ("toy-3", "toy-3", "toy-4"))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["hidden.weight"], other["hidden.weight"])
