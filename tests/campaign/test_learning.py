"""A campaign that learns: waves, class updates between them, and what each compound began from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from jobflow import run_locally
from monty.json import MontyDecoder, MontyEncoder

from onfly.classes.library import ClassLibrary
from onfly.flows import CampaignMaker
from onfly.flows.order import diverse_order
from onfly.flows.waves import waves_of
from onfly.labels.ase import AseLabelMaker
from onfly.library import ModelLibrary
from onfly.spec.classes import ClassCampaignSpec
from onfly.stores import job_store
from onfly.testing.models import toy_spec
from tests.campaign.conftest import metals

FIT = {"n_steps": 10, "replay": 3, "check": 3, "folds": 0}


@pytest.fixture
def campaign(make_maker):
    maker = make_maker(mode="resident", n_steps=6, foundation_model="toy", labeller="emt")
    return CampaignMaker(
        campaign="alloys",
        maker=maker,
        class_model={"name": "alloys", "every": 2, "fit": FIT},
    )


def origins():
    return {model.run_id: model.foundation_model for model in ModelLibrary.from_settings().query()}


def test_later_compounds_start_from_the_newest_version(campaign):
    structures = metals(3)
    (flow,) = campaign.make(structures)
    run_locally(flow, store=job_store(), ensure_success=True)
    runs = campaign.runs(structures)
    first, second = waves_of(campaign.class_model, runs)
    assert [len(first), len(second)] == [2, 1]
    found = origins()
    assert {found[run_id] for run_id in first} == {"toy"}
    assert {found[run_id] for run_id in second} == {"class:alloys@1"}
    one, two = ClassLibrary.from_settings().documents("alloys")
    assert (one.run_ids, two.run_ids) == (sorted(first), sorted([*first, *second]))
    assert one.foundation.source == two.foundation.source == "toy"


def test_a_campaign_made_again_is_the_same(campaign, tmp_path, monkeypatch):
    found = []
    for number in range(2):
        monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / f"artifacts{number}"))
        monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / f"store{number}"))
        structures = metals(3)
        (flow,) = campaign.make(structures if number == 0 else reversed(structures))
        run_locally(flow, store=job_store(), ensure_success=True)
        models = ModelLibrary.from_settings().query()
        found.append(
            (
                {m.run_id: [ref.sha256 for ref in m.ensemble.members] for m in models},
                [doc.weights_file.sha256 for doc in ClassLibrary.from_settings().documents()],
            )
        )
    assert found[0] == found[1]


def test_a_compound_that_fails_holds_nobody_up(campaign):
    structures = metals(3)
    (bad, good), (last,) = waves_of(campaign.class_model, campaign.runs(structures))
    broken = replace(
        campaign.maker,
        label_maker=AseLabelMaker(
            calculator="tests.flows.flaky.FlakyEMT", calculator_kwargs={"n_good": 0}
        ),
    )
    campaign.overrides = {bad: broken}
    (flow,) = campaign.make(structures)
    run_locally(flow, store=job_store())
    found = origins()
    assert bad not in found
    assert (found[good], found[last]) == ("toy", "class:alloys@1")
    one, _ = ClassLibrary.from_settings().documents()
    assert one.run_ids == [good]


def test_a_wave_without_any_label_goes_on_from_what_there_is(campaign):
    campaign.class_model = ClassCampaignSpec.model_validate(
        {"name": "alloys", "every": 1, "fit": FIT}
    )
    structures = metals(2)
    (bad,), (last,) = waves_of(campaign.class_model, campaign.runs(structures))
    broken = AseLabelMaker(calculator="tests.flows.flaky.FlakyEMT", calculator_kwargs={"n_good": 0})
    campaign.overrides = {bad: replace(campaign.maker, label_maker=broken)}
    (flow,) = campaign.make(structures)
    run_locally(flow, store=job_store())
    assert origins() == {last: "toy"}


def test_an_override_of_the_foundation_is_kept(campaign):
    structures = metals(2)
    formula = structures[0].composition.reduced_formula
    campaign.overrides = {formula: {"foundation_model": "toy-1"}}
    makers = [campaign.maker_for(s, "class:alloys@4") for s in structures]
    sources = [maker.resolved_spec.foundation.source for maker in makers]
    assert sources == ["toy-1", "class:alloys@4"]


def test_a_mistake_is_told_before_anything_starts(campaign):
    formula = metals(1)[0].composition.reduced_formula
    campaign.overrides = {formula: toy_spec(foundation_model="class:nowhere@1")}
    with pytest.raises(ValueError, match="no class model nowhere"):
        campaign.make(metals(2))


def test_the_order_is_of_the_compounds_alone(campaign):
    runs = campaign.runs(metals(6))
    order = diverse_order(runs)
    assert sorted(order) == sorted(runs)
    assert diverse_order(dict(reversed(runs.items()))) == order
    given = ClassCampaignSpec(name="a", every=4, order="given")
    assert [len(wave) for wave in waves_of(given, runs)] == [4, 2]
    assert waves_of(given, runs)[0] == list(runs)[:4]


def test_the_maker_goes_through_json(campaign):
    again = MontyDecoder().decode(MontyEncoder().encode(campaign))
    assert again.class_model == campaign.class_model
    (flow,) = campaign.make(metals(2))
    assert MontyDecoder().decode(MontyEncoder().encode(flow.jobs[0])).maker is not None
