from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from onfly.potentials import load_foundation, parse_foundation
from onfly.potentials.families import FAMILIES


def test_unknown_name_is_an_error_that_gives_examples():
    with pytest.raises(ValueError, match=r"chgnet-0\.3\.0"):
        load_foundation("nonsense")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("chgnet-0.3", "chgnet-0.3.0"),
        ("CHGNet-r2scan", "chgnet-r2scan"),
        ("mace-mp-medum", "mace-mp-medium"),
        ("sevenet-0", "sevennet-0"),
    ],
)
def test_misspelt_name_is_an_error_with_the_closest_one(name, meant):
    with pytest.raises(ValueError, match=f"did you mean .*{meant}"):
        load_foundation(name)


@pytest.mark.parametrize("name", ["some/model", "weights.pt2", "missing.model", "missing.pth"])
def test_path_without_a_file_is_an_error(name):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_foundation(name)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("chgnet", "chgnet"),
        ("chgnet-r2scan", "chgnet"),
        ("mace-mp-medium", "mace"),
        ("mace-mpa-0-medium", "mace"),
        ("mace-off-small", "mace"),
        ("sevennet-0", "sevennet"),
        ("toy", "toy"),
        ("toy-12", "toy"),
    ],
)
def test_each_name_belongs_to_one_family(name, family):
    assert [f.name for f in FAMILIES.values() if f.knows(name)] == [family]
    assert parse_foundation(name).family == family


def test_table_and_object_mean_the_same():
    parts = {"family": "toy", "source": "toy-3", "options": {}}
    found = parse_foundation(parts)
    assert found == parse_foundation(SimpleNamespace(**parts)) == parse_foundation("toy-3")
    one, other = (load_foundation(what).parameters() for what in (parts, "toy-3"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"family": "mcae", "source": "x"}, "did you mean mace"),
        ({"family": "toy", "source": "chgnet"}, "of the family toy"),
        ({"family": "mace", "source": "mace-mp-smal"}, "did you mean mace-mp-small"),
        (
            {"family": "toy", "source": "toy", "options": {"head": 1}},
            "no option 'head'; it has none",
        ),
        ({"source": "toy", "task": "omat"}, "not task"),
        ({"family": "toy"}, "needs a source"),
        (
            {"family": "mace", "source": "mace-mp-small", "options": {"task": "x"}},
            "no option 'task'; it has head, trust_pickle",
        ),
        (
            {"family": "mace", "source": "mace-mp-small", "options": {"trust_pickle": "yes"}},
            "true or false",
        ),
    ],
)
def test_wrong_tables_are_errors_that_say_what_is_possible(parts, message):
    with pytest.raises(ValueError, match=message):
        load_foundation(parts)


def test_toy_weights_depend_on_the_seed_only():
    one, same, other = (load_foundation(n).parameters() for n in ("toy-3", "toy-3", "toy-4"))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["hidden.weight"], other["hidden.weight"])


def test_checking_imports_neither_torch_nor_a_family():
    code = """
import sys
from onfly.potentials import check_foundation
assert check_foundation("chgnet-0.3.0", ["Na", "Cl"]) == [], check_foundation("chgnet-0.3.0")
assert "Og" in check_foundation("chgnet-0.3.0", ["Og"])[0]
assert "mace-mp-medium" in check_foundation("mace-mp-medum")[0]
assert not {"torch", "mace", "chgnet", "e3nn"} & set(sys.modules)
"""
    pytest.importorskip("chgnet")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
