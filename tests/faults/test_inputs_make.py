"""`OnTheFlyMaker.make` and `CampaignMaker.make` refuse what `onfly run` and `submit` refuse."""

from __future__ import annotations

import time

import pytest
from pymatgen.core import Lattice

from tests.faults.inputs.makers import MAKERS, copper, make


@pytest.fixture(autouse=True)
def _empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", MAKERS, ids=lambda case: case.name)
def test_a_flow_that_cannot_be_is_not_made(case, tmp_path):
    with pytest.raises((ValueError, TypeError), match=case.says):
        case.call()
    assert not list(tmp_path.iterdir())


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ValueError, match=r"unknown foundation[\s\S]*does not know Na"):
        make(copper(element="Na", cell=Lattice.cubic(4.5)), foundation_model="tooy")


def test_the_check_loads_no_model(monkeypatch):
    monkeypatch.setattr("onfly.potentials.load_foundation", None)
    monkeypatch.setattr("onfly.learning.target.shared_potential", None)
    begin = time.process_time()
    for number in range(20):
        make(foundation_model="chgnet-0.3.0", run_id=f"r{number}")
    assert time.process_time() - begin < 4.0
