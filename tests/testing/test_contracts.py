"""The contract check finds the faults it is there for, and a family from outside passes it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from ase.build import bulk, molecule

from onfly.potentials import check_foundation, load_foundation
from onfly.potentials.toy import ToyPotential
from onfly.testing.contracts import ContractError, check_potential


@pytest.fixture
def crystal():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def toy(kind=ToyPotential):
    return kind("toy", 0, ["Na", "Cl"], torch.device("cpu"), torch.float64)


def test_toy_passes(crystal):
    check_potential(toy(), crystal)


class WrongForces(ToyPotential):
    def evaluate(self, *args, **kwargs):
        found = super().evaluate(*args, **kwargs)
        forces = None if found.forces is None else 1.01 * found.forces
        return dataclasses.replace(found, forces=forces)


class PressureForTension(ToyPotential):
    def evaluate(self, *args, **kwargs):
        found = super().evaluate(*args, **kwargs)
        stress = None if found.stress is None else -found.stress
        return dataclasses.replace(found, stress=stress)


class SinglePrecision(ToyPotential):
    def evaluate(self, *args, **kwargs):
        found = super().evaluate(*args, **kwargs)
        return dataclasses.replace(found, energy=found.energy.float())


class DependsOnOrder(ToyPotential):
    def site_energies(self, params, vectors, data):
        site, features = super().site_energies(params, vectors, data)
        return site * torch.linspace(0.9, 1.1, len(data.species), dtype=site.dtype), features


class SharedParameters(ToyPotential):
    def parameters(self):
        return self._weights


class NoGradient(ToyPotential):
    def site_energies(self, params, vectors, data):
        return super().site_energies(
            params | {"hidden.bias": params["hidden.bias"].detach()}, vectors, data
        )


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (WrongForces, "forces"),
        (PressureForTension, "stress"),
        (SinglePrecision, "shapes"),
        (DependsOnOrder, "permutation"),
        (SharedParameters, "parameters"),
        (NoGradient, "gradient"),
    ],
)
def test_each_fault_is_found_by_its_check(crystal, kind, check):
    with pytest.raises(ContractError, match=f"toy, {check}: "):
        check_potential(toy(kind), crystal)


def test_wrong_use_is_explained(crystal):
    with pytest.raises(ValueError, match="no check speed; there are shapes"):
        check_potential(toy(), crystal, skip=("speed",))
    with pytest.raises(ValueError, match=r"torch\.float64"):
        check_potential(load_foundation("toy", dtype=torch.float32), crystal)


FAMILY = """
import torch
from onfly.potentials.families import Family

def load(source, elements=None, device="cpu", dtype=None, seed=0):
    from onfly.potentials.toy import ToyPotential
    return ToyPotential(source, seed, elements, torch.device(device), dtype or torch.float64)

FAMILY = Family(
    "outside", "outside_family:load", names=("outside-small",), options={"seed": "Of the weights."},
    elements=lambda name: ("H", "O"),
)
"""


def install(folder, monkeypatch, value):
    """Do what pip does: a module and a dist-info folder on the path."""
    (folder / "outside_family.py").write_text(FAMILY)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[onfly.potentials]\noutside = {value}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_family_from_outside(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "outside_family:FAMILY")
    water = molecule("H2O")
    water.rattle(0.05, seed=2)
    check_potential(load_foundation("outside-small", elements=["H", "O"]), water)
    seeded = load_foundation(
        {"family": "outside", "source": "outside-small", "options": {"seed": 3}}
    )
    assert torch.equal(
        seeded.parameters()["hidden.weight"], load_foundation("toy-3").parameters()["hidden.weight"]
    )
    assert check_foundation("outside-small", ["H", "Si"]) == [
        "outside-small does not know the element(s) Si: take another foundation model"
    ]
    assert "did you mean outside-small" in check_foundation("outside-smal")[0]


def test_entry_point_of_another_kind_is_explained(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "outside_family:load")
    (problem,) = check_foundation("outside-small")
    assert "expected an onfly.potentials.Family object" in problem
