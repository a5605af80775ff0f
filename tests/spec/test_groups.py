"""The groups of settings: limits, short forms, and what is impossible."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from onfly.dynamics import stages as dynamics
from onfly.spec import (
    CalibrationSpec,
    FoundationSpec,
    GuardsSpec,
    LabelsSpec,
    MDStage,
    PosteriorSpec,
    ProofSpec,
    StoppingSpec,
    Tolerance,
    TrajectoriesSpec,
)


def test_a_tolerance_has_a_name_by_its_scope():
    def name(**fields):
        return Tolerance(**{"quantity": "force", "value": 0.1} | fields).name

    assert name(quantity="energy") == "energy"
    assert name() == "force"
    assert name(species="H") == "force[H]"
    assert name(species=["H", "O"]) == "force[H,O]"
    assert name(sites=[0, 3]) == "force[0,3]"
    assert name(region="my.surface") == "force[my.surface]"


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": "energy", "value": 0.0},
        {"quantity": "energy", "value": -1.0},
        {"quantity": "energy", "value": float("nan")},
        {"quantity": "energy", "value": float("inf")},
        {"quantity": "energy", "value": 1.0, "species": ["H"]},
        {"quantity": "force", "value": 1.0, "species": ["h"]},
        {"quantity": "force", "value": 1.0, "species": []},
        {"quantity": "force", "value": 1.0, "species": ["H"], "sites": [0]},
        {"quantity": "force", "value": 1.0, "sites": [-1]},
        {"quantity": "force", "value": 1.0, "region": "surface"},
        {"quantity": "energy", "value": 1.0, "max_probability": 1.0},
        {"quantity": "virial", "value": 1.0},
        {"quantity": "energy", "value": True},
    ],
)
def test_impossible_tolerances(fields):
    with pytest.raises(ValidationError):
        Tolerance(**fields)


@pytest.mark.parametrize("field", ["coverage", "confidence"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_a_proof_needs_a_share_between_0_and_1(field, value):
    with pytest.raises(ValidationError):
        ProofSpec(**{field: value})


def test_no_attempts_are_allowed():
    assert ProofSpec(attempts=0).attempts == 0


def test_shape_and_rate_belong_together():
    assert CalibrationSpec(shape=1.5, rate=10.0).rate == 10.0
    for given in ({"shape": 1.5}, {"rate": 10.0}):
        with pytest.raises(ValidationError, match="shape and rate belong together"):
            CalibrationSpec(**given)


def test_unknown_keys_of_a_posterior_are_its_options():
    spec = PosteriorSpec.model_validate({"kind": "sghmc", "n_members": 4, "strategy": "auto"})
    assert (spec.kind, spec.options, spec.strategy) == ("sghmc", {"n_members": 4}, "auto")
    assert PosteriorSpec.model_validate("sghmc").kind == "sghmc"
    with pytest.raises(ValidationError, match="n_members is given twice"):
        PosteriorSpec.model_validate({"n_members": 4, "options": {"n_members": 5}})


def test_short_forms():
    assert FoundationSpec.model_validate("toy").source == "toy"
    assert LabelsSpec.model_validate({"labeller": "emt"}).labeller.name == "emt"
    assert LabelsSpec(seed_from="first").seed_from == ("first",)


def test_groups_are_strict_and_frozen():
    with pytest.raises(ValidationError, match="Extra inputs"):
        StoppingSpec.model_validate({"quiet": 3})
    with pytest.raises(ValidationError, match="frozen"):
        GuardsSpec().min_distance = 0.1
    with pytest.raises(ValidationError):
        GuardsSpec().evolve(min_distance=-1.0)
    assert GuardsSpec().evolve(min_distance=0.4).min_distance == 0.4


def test_the_stage_of_the_dynamics_is_the_same_class():
    assert dynamics.MDStage is MDStage
    stage = MDStage(10, temperature=[300, 600])
    assert stage == MDStage(n_steps=10, temperature=(300.0, 600.0))
    assert [stage.temperature_at(i) for i in (0, 9, 20)] == [300.0, 600.0, 600.0]
    assert stage.evolve(n_steps=4).n_steps == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_steps": 0}, "greater than or equal to 1"),
        ({"ensemble": "nph"}, "'nve', 'nvt' or 'npt'"),
        ({"dynamics": "foo"}, "does not exist for nvt: use langevin"),
        ({"temperature": None}, "needs a temperature"),
        ({"temperature": -5}, "temperature -5 K is not positive"),
        ({"temperature": [1, 2, 3]}, "neither a number nor a pair"),
        ({"temperature": [300, 600], "dynamics": "bussi"}, "cannot follow a temperature ramp"),
        ({"ensemble": "npt"}, "needs a pressure in kbar"),
        ({"pressure": 1.0}, "pressure has no meaning in the nvt ensemble"),
        ({"time_step": 11.0}, "less than or equal to 10"),
        ({"time_step": float("nan")}, "finite number"),
    ],
)
def test_impossible_stages(fields, message):
    with pytest.raises(ValidationError, match=message):
        MDStage(**{"n_steps": 10} | fields)


def test_another_driver_knows_its_own_conditions():
    stage = MDStage(10, driver="descent", temperature=None, ase_md_kwargs={"fmax": 0.05})
    assert stage.ase_md_kwargs == {"fmax": 0.05}


def test_there_must_be_a_stage():
    with pytest.raises(ValidationError, match="at least 1 item"):
        TrajectoriesSpec(stages=[])
