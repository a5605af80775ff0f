from __future__ import annotations

import re

import pytest

from onfly.flows import CampaignMaker
from tests.campaign.conftest import metals


@pytest.fixture
def campaign(make_maker):
    return CampaignMaker(campaign="alloys", maker=make_maker())


def run_ids(flows):
    return [flow.jobs[0].metadata["onfly"]["run_id"] for flow in flows]


def test_one_flow_for_each_compound_with_a_name_that_lasts(campaign, make_maker):
    structures = metals(9)
    flows = campaign.make(structures)
    names = run_ids(flows)
    assert len(set(names)) == 9
    assert all(re.fullmatch(r"alloys-[A-Z][A-Za-z0-9]*-[0-9a-f]{8}", name) for name in names)
    again = CampaignMaker(campaign="alloys", maker=make_maker()).make(reversed(structures))
    assert run_ids(again) == names[::-1]
    for flow in flows:
        assert {job.metadata["onfly"]["campaign"] for job in flow.jobs} == {"alloys"}
    moved = metals(1)[0]
    moved.perturb(0.01)
    assert run_ids(campaign.make([moved]))[0] != names[0]


def test_formulas_with_brackets_name_folders():
    from pymatgen.core import Lattice, Structure

    species = ["Ca", "N", "N", *["O"] * 6]
    structure = Structure(Lattice.cubic(8), species, [[0.1 * i] * 3 for i in range(9)])
    assert structure.composition.reduced_formula == "Ca(NO3)2"
    maker = CampaignMaker(campaign="nitrates")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", maker.run_id(structure))


def test_overrides_change_their_compounds_only(campaign, make_maker):
    structures = metals(3)
    names = [campaign.run_id(s) for s in structures]
    formulas = [s.composition.reduced_formula for s in structures]
    other = make_maker(n_steps=99)
    campaign.overrides = {
        f"{formulas[0]}2": {"threshold": 0.02, "audit_interval": 7, "rounds": {"length": 3}},
        names[1]: other,
    }
    makers = [campaign.maker_for(s) for s in structures]
    specs = [maker.resolved_spec for maker in makers]
    assert [spec.tolerance[0].value for spec in specs] == [0.02, 0.1, 0.1]
    assert [spec.rounds.audit_interval for spec in specs] == [7, 5, 5]
    assert [spec.rounds.length for spec in specs] == [3, None, None]
    assert [spec.trajectories.stages[0].n_steps for spec in specs] == [10, 99, 10]
    # what an override does not name is as for the others
    assert {spec.posterior.options["n_members"] for spec in specs} == {2}
    assert {m.campaign for m in makers} == {"alloys"}
    assert campaign.maker.resolved_spec.tolerance[0].value == 0.1


def test_mistakes_are_named(campaign):
    structures = metals(3)
    with pytest.raises(ValueError, match="structures 1 and 3 are the same"):
        campaign.make([*structures, structures[1]])
    with pytest.raises(ValueError, match="no structures"):
        campaign.make([])
    campaign.overrides = {"NaCl": {}}
    with pytest.raises(ValueError, match="overrides for NaCl fit no compound"):
        campaign.make(structures)
    formula = structures[0].composition.reduced_formula
    campaign.overrides = {formula: {"steps": 3}}
    with pytest.raises(ValueError, match=f"overrides of {formula}: steps: unknown key"):
        campaign.make(structures)
    structures[0].replace(0, {"Cu": 0.5, "Ni": 0.5})
    with pytest.raises(ValueError, match=r"structure 0 .* partial occupation"):
        campaign.make(structures)
