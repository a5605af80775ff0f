"""A campaign that takes seconds a compound: toy potential, EMT as labeller, short chains."""

from __future__ import annotations

import json

import pytest
import yaml
from ase.build import bulk
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.flows import OnTheFlyMaker
from onfly.jobs.rounds import RoundMaker
from onfly.testing.models import toy_spec

LATTICE = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92, "Al": 4.05}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Settings of a machine of its own, and a working directory that may be littered."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("ONFLY_CONFIG_FILE", str(tmp_path / "onfly.yaml"))
    (tmp_path / "onfly.yaml").write_text("")
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    monkeypatch.delenv("JOBFLOW_CONFIG_FILE", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture(scope="session", autouse=True)
def _no_report_at_the_end_of_a_run():
    """The figures of a report take longer than these runs; `tests/report` is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onfly.cli.summary._report", lambda workspace: None)
        yield


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


def metals(n):
    """Return n different fcc metals and ordered alloys of four sites, a little displaced."""
    names = list(LATTICE)
    pairs = [(a, b) for a in names for b in names]
    pairs.sort(key=lambda pair: (pair[0] != pair[1], pair))  # the metals come first
    structures = []
    for index, (host, guest) in enumerate(pairs[:n]):
        atoms = bulk(host, "fcc", (LATTICE[host] + LATTICE[guest]) / 2, cubic=True)
        atoms.symbols[0] = guest
        atoms.rattle(0.02, seed=index)
        structures.append(AseAtomsAdaptor.get_structure(atoms))
    return structures


@pytest.fixture
def make_maker():
    def build(mode="chained", n_steps=10, label_maker=None, fuse=True, **settings):
        spec = toy_spec(
            **{
                "stages": [{"n_steps": n_steps, "temperature": 300.0, "time_step": 2.0}],
                "audit_interval": 5,
                "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 5},
                # a proof of few audits: these tests are of the loop, not of the model
                "proof": {"coverage": 0.5, "attempts": 1, "steps": 10},
            }
            | settings
        )
        return OnTheFlyMaker(
            spec=spec, mode=mode, label_maker=label_maker, round_maker=RoundMaker(fuse=fuse)
        )

    return build


def config(tmp_path, n, **changes):
    """Write a campaign of some metals; `changes` replace its keys."""
    (tmp_path / "structures.json").write_text(json.dumps([s.as_dict() for s in metals(n)]))
    content = {
        "campaign": "here",
        "structures": {"pymatgen": "structures.json"},
        "foundation_model": "toy",
        "threshold": "100 meV",
        "labeller": "emt",
        "stages": [{"n_steps": 6, "temperature": 300, "time_step": 2.0}],
        "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 5},
        "audit_interval": 4,
        "n_workers": 1,
        "proof": {"coverage": 0.5, "attempts": 1, "steps": 10},
    }
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return str(path)
