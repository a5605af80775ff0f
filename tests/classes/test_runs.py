"""A run from a class model, and what is published of it."""

from __future__ import annotations

import pytest
from jobflow import run_locally

from onfly import OnTheFlyMaker, load_calculator
from onfly.library import ModelLibrary
from onfly.library.energy_offset import EnergyScaleError
from onfly.potentials import load_foundation
from onfly.schemas import to_atoms
from onfly.settings import get_settings
from onfly.stores import job_store
from onfly.testing.models import (
    crystal,
    random_mace,
    toy_label,
    toy_run,
    toy_spec,
    write_toy_run,
)

from .conftest import QUICK, filled_library, quick_update, write_alloy


def run_from(source, **settings):
    spec = toy_spec(
        foundation_model=source,
        labeller="emt",
        stages=[{"n_steps": 4, "temperature": 300.0}],
        posterior={"kind": "last_layer", "n_steps": 5},
        proof={"attempts": 0},
        **settings,
    )
    flow = OnTheFlyMaker(spec=spec, mode="resident").make(crystal("Ni", "Cu"), run_id="nicu")
    run_locally(flow, store=job_store(), ensure_success=True)
    (model,) = ModelLibrary.from_settings().query()
    return model


def test_the_record_names_the_version_and_what_was_measured(alloys):
    doc = quick_update(alloys, spec=toy_fit(folds=2, fold_compounds=1)).doc
    model = run_from("class:alloys")
    assert model.foundation_model == "class:alloys@1"
    assert model.foundation_sha256 == doc.weights_file.sha256
    assert model.calibration.rate == pytest.approx(doc.calibration_rate)
    assert model.calibration.shape == pytest.approx(doc.calibration_shape)


def test_other_compositions_have_energies_if_the_level_is_that_of_the_class():
    for pair in (("Cu", "Au"), ("Ni", "Cu")):
        write_alloy(pair, spec=toy_spec(level_of_theory="PBE"))
    doc = quick_update(filled_library()).doc
    run_from(doc.source, level_of_theory="PBE")
    atoms = to_atoms(crystal("Ni", "Cu"))
    del atoms[0]
    atoms.calc = load_calculator(path=get_settings().ARTIFACT_DIR / "runs/nicu")
    assert atoms.get_potential_energy() < 100


def test_and_none_if_it_is_another(alloys):
    doc = quick_update(alloys).doc
    model = run_from(doc.source, level_of_theory="PBE")
    assert model.element_offsets is None
    atoms = to_atoms(crystal("Ni", "Cu"))
    del atoms[0]
    atoms.calc = load_calculator(path=get_settings().ARTIFACT_DIR / "runs/nicu")
    with pytest.raises(EnergyScaleError):
        atoms.get_potential_energy()


def test_a_mace_model_can_be_the_foundation(tmp_path):
    pytest.importorskip("mace")
    path = random_mace(tmp_path / "random.safetensors")
    spec = toy_spec(foundation_model=str(path))
    for pair in (("Na", "Cl"), ("Na", "O")):
        run_id, salt = "".join(pair), crystal(*pair)
        labels = [toy_label(0, run_id, salt)]
        state = toy_run(run_id, salt, campaign="alloys", spec=spec)
        write_toy_run(get_settings().ARTIFACT_DIR, state, labels)
    doc = quick_update(filled_library(), spec=toy_fit(n_steps=2, replay=2, check=2)).doc
    potential = load_foundation(doc.source, elements=["Na", "Cl"])
    assert (potential.family, potential.sha256) == ("mace", doc.weights_file.sha256)


def toy_fit(**changes):
    return QUICK.evolve(**{"n_steps": 20, **changes})
