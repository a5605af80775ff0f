"""`RunSpec`: flat keys and groups, the paper's settings, and how it is stored."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass

import pytest
from jobflow import Maker, job
from monty.json import MontyDecoder, MontyEncoder, jsanitize
from pydantic import ValidationError

from onfly.spec import MDStage, RunSpec
from onfly.spec.flat import FLAT_KEYS, GROUPS, SettingError, gather, merge

LEAST = {"threshold": "50 meV", "stages": [{"n_steps": 10}]}
MUCH = {
    "foundation_model": "toy",
    "tolerance": [
        {"quantity": "energy", "value": "5 kcal/mol"},
        {"quantity": "force", "value": "100 meV/Å", "species": ["H"], "max_probability": 0.02},
    ],
    "stages": [{"n_steps": 10, "temperature": [300, 600]}, {"n_steps": 5, "ensemble": "nve"}],
    "walkers": 4,
    "round_length": 20,
    "proof": {"coverage": 0.95, "steps": 300},
    "posterior": {"kind": "sghmc", "n_members": 4},
    "strategy": "stacked",
    "calibration": {"shape": 2.0, "rate": 3.0},
    "labeller": {"name": "vasp-pbe", "kwargs": {"kpoints_mesh": [1, 1, 1]}},
    "reuse_labels": False,
    "stopping": {"quiet_steps": 100},
    "max_failures": 5,
    "seed": 7,
}


@dataclass
class Holder(Maker):
    spec: RunSpec
    name: str = "holder"

    @job
    def make(self, stage):
        return stage


def test_flat_keys_go_into_their_groups():
    spec = RunSpec.from_flat(MUCH)
    assert spec.foundation.source == "toy"
    assert [t.name for t in spec.tolerance] == ["energy", "force[H]"]
    assert spec.trajectories.walkers == 4
    assert spec.rounds.length == 20
    assert (spec.posterior.options, spec.posterior.strategy) == ({"n_members": 4}, "stacked")
    assert (spec.stopping.quiet_steps, spec.stopping.max_failures) == (100, 5)
    assert spec.labels.reuse is False


@pytest.mark.parametrize("defaults", [False, True])
@pytest.mark.parametrize("given", [LEAST, MUCH])
def test_there_and_back(given, defaults):
    spec = RunSpec.from_flat(given)
    flat = json.loads(json.dumps(spec.to_flat(defaults=defaults)))
    assert RunSpec.from_flat(flat, units_required=True) == spec
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_every_flat_key_names_a_setting():
    for path in FLAT_KEYS.values():
        model = RunSpec
        for part in path[:-1]:
            model = model.model_fields[part].annotation
        assert path[-1] in model.model_fields
    assert set(GROUPS) == set(RunSpec.model_fields)


def test_the_threshold_is_one_tolerance():
    spec = RunSpec.from_flat(LEAST | {"threshold_per_atom": True, "max_probability": 0.1})
    (tolerance,) = spec.tolerance
    assert (tolerance.quantity, tolerance.value) == ("energy_per_atom", 0.05)
    assert tolerance.max_probability == 0.1


def test_max_probability_leaves_a_tolerance_its_own():
    spec = RunSpec.from_flat(MUCH | {"max_probability": 0.1})
    assert [t.max_probability for t in spec.tolerance] == [0.1, 0.02]


def test_numbers_without_unit_are_internal_in_python_only():
    assert RunSpec.from_flat(LEAST | {"threshold": 0.05}).tolerance[0].value == 0.05
    with pytest.raises(ValidationError, match=r"has no unit: write for example '0\.05 eV'"):
        RunSpec.from_flat(LEAST | {"threshold": 0.05}, units_required=True)


def test_what_is_given_twice_or_unknown_is_told_at_once():
    given = LEAST | {"tolerance": [], "rounds": {"length": 5}, "round_length": 6, "walker": 2}
    with pytest.raises(SettingError) as error:
        gather(given)
    told = {path[0]: text for path, text in error.value.problems}
    assert "rounds.length, which is given as well" in told["round_length"]
    assert "did you mean walkers?" in told["walker"]
    assert "short form of tolerance" in told["threshold"]


def test_two_tolerances_of_one_name_are_refused():
    twice = [{"quantity": "energy", "value": 1.0}, {"quantity": "energy", "value": 2.0}]
    with pytest.raises(ValidationError, match="tolerance energy is given twice"):
        RunSpec.from_flat({"tolerance": twice, "stages": [{"n_steps": 1}]})


def test_keys_that_have_ended_are_told_with_their_new_form():
    stopping = {"min_audits": 5, "min_coverage": 0.9, "max_labels": 3}
    with pytest.raises(SettingError) as error:
        RunSpec.from_flat(LEAST | {"stopping": stopping})
    assert {path for path, _ in error.value.problems} == {
        ("stopping", "min_audits"),
        ("stopping", "min_coverage"),
    }
    assert "proof: {coverage: 0.9, confidence: 0.95}" in str(error.value)


def test_keys_with_a_new_name_are_taken_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "onfly"):
        spec = RunSpec.from_flat(LEAST | {"stopping": {"closing_steps": 600, "max_labels": 9}})
    assert (spec.proof.steps, spec.stopping.max_labels) == (600, 9)
    assert "stopping.closing_steps is now called proof.steps" in caplog.text


def test_the_paper():
    spec = RunSpec.paper(threshold="15 kcal/mol", stages=[MDStage(10)], labeller="emt")
    assert spec.posterior.kind == "sghmc"
    assert spec.posterior.options == {"n_members": 8, "n_steps": 2000}
    assert (spec.calibration.shape, spec.calibration.rate) == (1.5, 10.0)
    assert spec.calibration.surprise == 0
    assert (spec.rounds.initial_labels, spec.rounds.warmup_labels) == (1, 0)
    assert (spec.rounds.audit_interval, spec.proof.attempts) == (0, 0)
    assert spec.trajectories.walkers == 1
    nequip = RunSpec.paper(**LEAST, calibration={"shape": 3.0}, audit_interval=50)
    assert (nequip.calibration.shape, nequip.calibration.rate) == (3.0, 10.0)
    assert nequip.rounds.audit_interval == 50


def test_merge_replaces_choices_and_keeps_the_rest():
    base = gather(MUCH).groups
    spec = RunSpec.model_validate(
        merge(base, gather({"posterior": {"kind": "last_layer"}, "walkers": 2}).groups)
    )
    assert (spec.posterior.options, spec.posterior.strategy) == ({}, "stacked")
    assert spec.trajectories.walkers == 2
    assert len(spec.trajectories.stages) == 2
    other = merge(base, gather({"threshold": "1 eV", "foundation_model": "x"}).groups)
    assert [t.name for t in RunSpec.model_validate(other).tolerance] == ["energy"]


def test_a_maker_holds_it_through_jobflow():
    maker = Holder(RunSpec.from_flat(MUCH))
    made = maker.make(MDStage(3, temperature=(1.0, 2.0)))
    read = json.loads(json.dumps(made, cls=MontyEncoder), cls=MontyDecoder)
    assert read.maker.spec == maker.spec
    assert read.function_args[0] == MDStage(3, temperature=(1.0, 2.0))
    assert Holder.from_dict(json.loads(json.dumps(maker.as_dict()))) == maker
    assert jsanitize(maker.spec, strict=True)["seed"] == 7


def test_a_stage_of_version_0_1_is_read():
    old = {
        "@module": "onfly.dynamics.stages",
        "@class": "MDStage",
        "@version": "0.1.0",
        "n_steps": 5,
        "temperature": [300.0, 400.0],
        "pressure": None,
        "ensemble": "nvt",
        "dynamics": None,
        "time_step": None,
        "ase_md_kwargs": {},
    }
    assert MontyDecoder().process_decoded(old) == MDStage(5, temperature=(300, 400))


def test_settings_import_nothing_heavy():
    code = (
        "import sys, onfly.spec, onfly.spec.yaml, onfly.spec.campaign, onfly.units\n"
        "heavy = {'torch', 'pymatgen', 'jobflow', 'ase', 'scipy', 'atomate2', 'maggma', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
