"""A run that takes seconds: toy potential, EMT as labeller, short chains."""

from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.flows import OnTheFlyMaker
from onfly.jobs.rounds import RoundMaker
from onfly.testing.models import toy_spec


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Settings of a machine of its own, and a working directory that may be littered."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def structure():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=1)
    return AseAtomsAdaptor.get_structure(atoms)


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


@pytest.fixture
def make_maker():
    def build(mode="resident", n_steps=40, label_maker=None, fuse=True, **settings):
        spec = toy_spec(
            **{
                "stages": [{"n_steps": n_steps, "temperature": 300.0, "time_step": 2.0}],
                "audit_interval": 10,
                "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 30},
                # a proof of few audits: these tests are of the loop, not of the model
                "proof": {"coverage": 0.5, "attempts": 1, "steps": 10},
            }
            | settings
        )
        return OnTheFlyMaker(
            spec=spec, mode=mode, label_maker=label_maker, round_maker=RoundMaker(fuse=fuse)
        )

    return build
