from __future__ import annotations

import sys

import ase.io
import pytest

from tests.examples.conftest import ROOT


def test_every_example_is_listed_and_tested():
    readme = (ROOT / "examples" / "README.md").read_text()
    tests = (ROOT / "tests" / "examples" / "test_examples.py").read_text()
    scripts = sorted((ROOT / "examples").glob("[0-9]*.py"))
    assert len(scripts) == 6
    for script in scripts:
        assert f"`{script.name}`" in readme
        assert f"examples/{script.name}" in tests


def test_first_run_and_library(run_script):
    out = run_script("examples/01_first_run.py")
    assert "audits" in out
    assert "ready (closing block 1 passed" in out
    model = out.split()[1].rstrip(":")
    out = run_script("examples/04_query_library.py")
    assert f"for copper at 450 K: {model}" in out
    assert "refused:" in out


@pytest.mark.slow
def test_own_labeller(run_script):
    out = run_script("examples/02_own_labeller.py")
    assert "labels by my_labeller.CompressedEMT" in out


def test_the_labeller_has_one_surface(monkeypatch):
    from ase.build import bulk
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from my_labeller import CompressedEMT

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = CompressedEMT(factor=0.98)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert forces == pytest.approx(calculate_numerical_forces(atoms, eps=1e-4), abs=1e-5)
    numerical = calculate_numerical_stress(atoms, eps=1e-5, force_consistent=False)
    assert stress == pytest.approx(numerical, abs=1e-5)


def install(folder, monkeypatch):
    """Do what pip does with the example's package: make module and entry point known."""
    info = folder / "noble_gas_potential-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: noble-gas-potential\nVersion: 0.1\n"
    )
    (info / "entry_points.txt").write_text("[onfly.potentials]\nnoble-gas = noble_gas\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "own_foundation_model"))


def test_own_foundation_model(run_script, tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, monkeypatch)
    pyproject = (ROOT / "examples/own_foundation_model/pyproject.toml").read_text()
    assert '[project.entry-points."onfly.potentials"]\nnoble-gas = "noble_gas"' in pyproject
    out = run_script("examples/03_own_foundation_model.py")
    assert "of noble-gas" in out
    sys.modules.pop("noble_gas", None)


@pytest.mark.slow
def test_model_in_atomate2(run_script):
    run_script("examples/01_first_run.py")
    out = run_script("examples/05_model_in_atomate2.py")
    modulus = float(out.split("bulk modulus")[1].split()[0])
    assert 80 < modulus < 200  # EMT's copper: 134 GPa


@pytest.mark.slow
def test_class_level_dataset(run_script, machine):
    out = run_script("examples/06_class_level_dataset.py")
    frames = ase.io.read(machine / "work" / "coinage-metals.extxyz", ":")
    assert out.startswith(f"{len(frames)} labels of Ag4, Au4, Cu4")
    assert all(atoms.get_forces().shape == (4, 3) for atoms in frames)
