"""Properties asked of a run, of the library and on the command line."""

from __future__ import annotations

import json

import pytest
from jobflow import run_locally
from pymatgen.core import Lattice, Molecule, Structure
from typer.testing import CliRunner

from onfly import OnTheFlyMaker, label_maker
from onfly.cli import app
from onfly.flows.check import check_run
from onfly.jobs.properties import PropertiesMaker
from onfly.labels.store import LabelStore
from onfly.library import ModelLibrary
from onfly.library.models import ModelNotFoundError
from onfly.library.properties import set_properties
from onfly.properties.labeller import LabelCalculator
from onfly.schemas import FineTunedModelDoc, PropertiesDoc, to_atoms
from onfly.settings import get_settings
from onfly.spec import PropertiesSpec, RunSpec
from onfly.stores import job_store
from onfly.testing.models import toy_model

COPPER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])


def ordered():
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.tetragonal(3.96, 3.67), ["Cu", "Cu", "Au", "Au"], sites)


def spec(**more):
    return RunSpec.from_flat(
        {
            "threshold": 0.5,
            "foundation_model": "toy",
            "stages": [{"n_steps": 5, "temperature": 100}],
            "posterior": {"kind": "last_layer", "n_steps": 20},
            "proof": {"attempts": 0},
            "audit_interval": 0,
            **more,
        }
    )


@pytest.fixture
def model():
    found = toy_model(get_settings().ARTIFACT_DIR, structure=ordered(), energy_offset=-10.0)
    ModelLibrary.from_settings().publish(found)
    return found


@pytest.mark.parametrize("mode", ["resident", "chained"])
def test_a_run_measures_what_it_is_asked_for(mode):
    asked = spec(properties={"kinds": ["eos"], "labeller": True, "draws": 2})
    maker = OnTheFlyMaker(spec=asked, mode=mode, label_maker=label_maker("emt"))
    store = job_store()
    flow = maker.make(COPPER, run_id="copper")
    run_locally(flow, store=store, ensure_success=True, create_folders=True)
    (published,) = ModelLibrary.from_settings().query(formula="Cu")
    for doc in (
        published,
        FineTunedModelDoc.model_validate_json(
            (get_settings().ARTIFACT_DIR / "runs/copper/model.json").read_text()
        ),
    ):
        found = doc.properties
        assert found is not None
        assert found.model_id == published.model_id
        eos = found.of("eos")
        assert eos.problems == []
        assert found.n_labels > 7  # relaxation and volumes
        volume = next(v for v in eos.values if v.name == "V0")
        assert volume.labeller == pytest.approx(11.57, abs=0.02)  # EMT's
        assert volume.std > 0


def test_a_model_is_not_lost_when_its_properties_fail(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no minimum")

    monkeypatch.setattr("onfly.jobs.properties.measure_model", broken)
    maker = OnTheFlyMaker(
        spec=spec(properties=["eos"]), mode="resident", label_maker=label_maker("emt")
    )
    run_locally(maker.make(COPPER), store=job_store(), ensure_success=True, create_folders=True)
    (published,) = ModelLibrary.from_settings().query(formula="Cu")
    assert published.properties.problems == ["RuntimeError: no minimum"]


def test_later_by_a_job(model):
    library = ModelLibrary.from_settings()
    assert library.get("m1").properties is None
    settings = PropertiesSpec(kinds=("eos",), draws=2)
    for kinds in (("eos",), ("elastic",)):
        maker = PropertiesMaker(spec=settings.evolve(kinds=kinds))
        job = maker.make(model_id="m1")
        output = run_locally(job, store=job_store(), ensure_success=True)[job.uuid][1].output
        assert [p.kind for p in output.properties] == list(kinds)
    kept = ModelLibrary.from_settings().get("m1").properties
    assert {p.kind for p in kept.properties} == {"eos", "elastic"}
    with pytest.raises(ModelNotFoundError):
        set_properties(library, "m2", kept)


def test_on_the_command_line(model):
    runner = CliRunner()
    command = ["models", "properties", "m1", "--draws", "2"]
    refused = runner.invoke(app, command)
    assert refused.exit_code != 0
    assert "--eos" in refused.output
    shown = runner.invoke(app, [*command, "--eos"])
    assert shown.exit_code == 0, shown.output
    assert "eos B0" in shown.output
    said = runner.invoke(app, [*command, "--eos", "--json", "--no-save", "--labeller", "emt"])
    found = PropertiesDoc.model_validate(json.loads(said.output))
    assert found.properties[0].values[0].labeller is not None
    assert found.n_labels > 0
    kept = ModelLibrary.from_settings().get("m1").properties
    assert kept.n_labels == 0


def test_labels_are_not_computed_twice(tmp_path):
    store = LabelStore(tmp_path / "labels")
    first, again = (LabelCalculator(label_maker("emt"), store, tmp_path) for _ in range(2))
    atoms = to_atoms(COPPER)
    energies = [calculator.get_potential_energy(atoms) for calculator in (first, again)]
    assert energies[0] == energies[1]
    assert (first.n_labels, again.n_labels) == (1, 0)


def test_what_cannot_be_measured_is_said_before_the_run():
    water = Molecule(["O", "H", "H"], [[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    problems = check_run(spec(properties=["eos"]), [water], maker=label_maker("emt"), here=False)
    assert any("crystals" in problem for problem in problems)


def test_short_form_of_the_settings():
    short = spec(properties=["eos", "phonon"], properties_labeller=True)
    assert short.properties.kinds == ("eos", "phonon")
    assert short.properties.labeller
    assert RunSpec.from_flat(short.to_flat()) == short
    with pytest.raises(ValueError, match="twice"):
        spec(properties=["eos", "eos"])
    with pytest.raises(ValueError, match="eos"):
        spec(properties=["hardness"])
