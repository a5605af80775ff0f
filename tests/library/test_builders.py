from __future__ import annotations

import logging
from datetime import UTC, datetime

import numpy as np
import pytest
from ase.calculators.emt import EMT
from jobflow import job, run_locally
from maggma.core import Builder
from monty.json import MontyDecoder
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.calculators import load_calculator
from onfly.flows import OnTheFlyMaker
from onfly.labels.ase import AseLabelMaker
from onfly.library import ModelLibrary
from onfly.library.builders import ModelBuilder, RunBuilder, RunFolderBuilder
from onfly.schemas import FineTunedModelDoc
from onfly.settings import get_settings
from onfly.stores import job_store
from onfly.testing.models import crystal, toy_model, toy_run, toy_spec


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.mongo)])
def settings(request):
    if request.param == "embedded":
        return get_settings()
    return get_settings(JOB_STORE=request.getfixturevalue("mongo_server").job_store_spec())


@pytest.fixture
def store(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = job_store(settings)
    store.connect()
    return store


@job(data=["weights"], output_schema=FineTunedModelDoc)
def _publish(doc):
    return doc


@job
def _return(value):
    return value


def _run(flow, store):
    run_locally(flow, store=store, ensure_success=True, log=False)


def test_outputs_become_models_once(store, settings):
    root = get_settings().ARTIFACT_DIR
    _run(_publish(toy_model(root, "a")), store)
    library = ModelLibrary.from_job_store(store, settings, refresh=False)
    builder = ModelBuilder(store, library.models_store)
    assert builder.build() == 1
    assert builder.build() == 0
    _run(_publish(toy_model(root, "b", seed=1)), store)
    _run(_return({"doc_type": "something else"}), store)
    assert builder.build() == 1
    assert sorted(m.model_id for m in library.query()) == ["a", "b"]
    record = library.models_store.query_one({"model_id": "b"})
    assert record["weights_reference"]["store"] == "data"
    assert "weights" not in record or record["weights"] is None
    assert ModelBuilder(store, library.models_store, exhaustive=True).build() == 0


def test_weights_of_a_job_load_on_an_empty_machine(store, settings, tmp_path):
    doc = toy_model(get_settings().ARTIFACT_DIR, "a")
    _run(_publish(doc), store)
    elsewhere = settings.model_copy(update={"ARTIFACT_DIR": tmp_path / "elsewhere"})
    library = ModelLibrary.from_job_store(store, elsewhere)
    calculator = library.calculator(library.latest("CuAu").model_id)
    atoms = AseAtomsAdaptor.get_atoms(crystal(), msonable=False)
    atoms.calc = calculator
    assert np.isfinite(atoms.get_potential_energy())


def test_a_broken_output_is_left_out_and_named(store, settings, caplog):
    root = get_settings().ARTIFACT_DIR
    broken = toy_model(root, "broken").model_dump(mode="json")
    broken["threshold_ev"] = "small"
    _run(_return({k: v for k, v in broken.items() if k != "weights"}), store)
    _run(_publish(toy_model(root, "whole")), store)
    library = ModelLibrary.from_job_store(store, settings, refresh=False)
    with caplog.at_level(logging.ERROR):
        ModelBuilder(store, library.models_store).build()
    assert [m.model_id for m in library.query()] == ["whole"]
    assert "threshold_ev" in caplog.text


def test_runs_keep_their_newest_state(store, settings):
    library = ModelLibrary.from_job_store(store, settings, refresh=False)
    builder = RunBuilder(store, library.runs_store)
    for step, hour in ((1, 1), (9, 3), (5, 2)):
        date = datetime(2026, 1, 1, hour, tzinfo=UTC)
        _run(_return(toy_run("r", round=step, updated_at=date)), store)
        builder.build()
    assert library.runs_store.query_one({"run_id": "r"})["round"] == 9
    assert library.runs_store.count({"run_id": "r"}) == 1
    assert builder.build() == 0


def test_states_of_runs_are_read_once(store, settings):
    """A run puts out many states in a day; the next build reads none of them again."""
    library = ModelLibrary.from_job_store(store, settings, refresh=False)
    builder = RunBuilder(store, library.runs_store)
    for run_id in ("a", "b"):
        for step in range(3):
            date = datetime(2026, 1, 1, step, tzinfo=UTC)
            _run(_return(toy_run(run_id, round=step, updated_at=date)), store)
    _run(_return({"doc_type": "run", "run_id": "broken"}), store)
    items = list(builder.get_items())
    outputs = [item["output"] for item in items]
    assert sorted(output.get("posterior", {}).get("round", -1) for output in outputs) == [-1, 2, 2]
    assert builder.build() == 3
    # only what is no run document is looked at again
    assert [item["output"]["run_id"] for item in builder.get_items()] == ["broken"]
    later = datetime(2026, 1, 1, 5, tzinfo=UTC)
    _run(_return(toy_run("a", round=9, updated_at=later)), store)
    assert builder.build() == 2
    steps = {doc["run_id"]: doc["round"] for doc in library.runs_store.query()}
    assert steps == {"a": 9, "b": 2}
    assert RunBuilder(store, library.runs_store, exhaustive=True).build() == 6
    assert {doc["run_id"]: doc["round"] for doc in library.runs_store.query()} == steps


def test_builders_serialise_as_maggma_expects(store, settings):
    library = ModelLibrary.from_job_store(store, settings, refresh=False)
    for builder in (
        ModelBuilder(store, library.models_store),
        RunBuilder(store, library.runs_store),
        RunFolderBuilder("artifacts", library.runs_store, library.labels_store),
    ):
        again = MontyDecoder().process_decoded(builder.as_dict())
        assert isinstance(again, Builder)
        assert again.targets[0].name == builder.targets[0].name


def test_a_real_run_ends_up_in_the_library(store, settings, monkeypatch):
    """From the flow to the calculator, with nothing in between but the stores."""
    monkeypatch.setenv("ONFLY_N_WORKERS", "1")
    flow = OnTheFlyMaker(
        spec=toy_spec(level_of_theory="EMT", proof={"coverage": 0.5, "attempts": 1, "steps": 10}),
        mode="resident",
        label_maker=AseLabelMaker(calculator="ase.calculators.emt.EMT"),
    ).make(crystal())
    _run(flow, store)
    library = ModelLibrary.from_job_store(store, settings)
    model = library.latest("CuAu", level_of_theory="EMT", temperature=300)
    assert model.n_labels > 1
    # the jobs of the run put out its labels, so that its folder has nothing to add
    assert library.add_runs() == 0
    assert library.labels_store.count({"run_id": model.run_id}) == model.n_labels
    assert library.runs_store.query_one({"run_id": model.run_id})["model_id"] == model.model_id
    atoms = AseAtomsAdaptor.get_atoms(crystal(), msonable=False)
    atoms.calc = library.calculator(model.model_id)
    reference = atoms.copy()
    reference.calc = EMT()
    # the offset puts the first structure on the scale of the labels
    error = atoms.get_potential_energy() - reference.get_potential_energy()
    assert abs(error) < 5 * atoms.calc.results["energy_std"] < 10
    if settings.JOB_STORE is None:
        atoms.calc = load_calculator(model_id=model.model_id)
        assert atoms.get_potential_energy() == pytest.approx(
            reference.get_potential_energy() + error
        )
