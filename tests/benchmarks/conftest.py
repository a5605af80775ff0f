"""The scripts in `benchmarks/`, run in this process: importing torch once is slow enough."""

from __future__ import annotations

import json
import logging
import runpy
import sys
from importlib import import_module
from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def import_benchmark(monkeypatch):
    """Return a function that imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield import_module
    # `common`, `systems` and `loop` are names that others may use too
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture
def run_benchmark(tmp_path, monkeypatch, import_benchmark):
    """Return a function that runs a script with ``--quick`` and returns the rows of its file."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("onfly")
    level = logger.level  # the scripts raise it

    def run(script: str, *arguments: object) -> list[dict]:
        result = tmp_path / "figures.json"
        command = [script, "--quick", "--json", result, *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        content = json.loads(result.read_text())
        assert content["benchmark"] == script.removesuffix(".py")
        assert content["machine"]["torch"]
        assert content["rows"]
        return content["rows"]

    yield run
    logger.setLevel(level)


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Sixty configurations of ethanol with energies and forces of ASE's toy EMT."""
    frames: list[Atoms] = []
    for seed in range(60):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.04, seed=seed)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    path = tmp_path / "labelled.extxyz"
    ase.io.write(path, frames)
    return path
