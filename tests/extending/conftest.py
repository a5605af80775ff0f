"""A package outside of this one: one file, and the metadata that pip would write."""

from __future__ import annotations

import sys

import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.testing.models import toy_spec


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a module with entry points: ``{group: "name = module:Class"}``."""

    def build(module, text, **groups):
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = "".join(f"[onfly.{group}]\n{line}\n" for group, line in groups.items())
        (info / "entry_points.txt").write_text(lines)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return build


@pytest.fixture
def structure():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=1)
    return AseAtomsAdaptor.get_structure(atoms)


@pytest.fixture
def spec():
    def build(**settings):
        return toy_spec(
            **{
                "stages": [{"n_steps": 8, "temperature": 300.0, "time_step": 2.0}],
                "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 10},
                "audit_interval": 0,
                "warmup_labels": 0,
                "threshold": 100.0,
                "proof": {"attempts": 0},
            }
            | settings
        )

    return build
