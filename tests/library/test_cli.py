"""The commands `onfly models`, `onfly store` and `onfly doctor`."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from ase.io import read
from jobflow import job, run_locally
from typer.testing import CliRunner

from onfly.calculators import load_calculator
from onfly.cli import doctor, models
from onfly.cli import store as store_command
from onfly.library import ModelLibrary
from onfly.schemas import FineTunedModelDoc
from onfly.schemas.model import ErrorStatistics
from onfly.settings import get_settings
from onfly.stores import embedded_job_store, job_store
from onfly.testing.models import toy_label, toy_model, toy_run, water, write_toy_run

runner = CliRunner()
VERDICT = {"state": "ready", "coverage": 0.9, "confidence": 0.95, "sentence": "at least 90 %"}


@pytest.fixture
def library():
    root = get_settings().ARTIFACT_DIR
    library = ModelLibrary.from_settings()
    library.publish(toy_model(root, "first"))
    library.publish(
        toy_model(
            root, "second", water(), state="unproven", coverage=None, n_waits=4, verdict=VERDICT
        )
    )
    labels = [toy_label(index, "run-first") for index in range(3)]
    write_toy_run(root, toy_run("run-first"), labels)
    return library


def _invoke(app, *arguments, code=0):
    result = runner.invoke(app, [str(a) for a in arguments], env={"COLUMNS": "250"})
    assert result.exit_code == code, result.output
    return result


def test_list_as_table_and_json(library):
    records = json.loads(_invoke(models.app, "list", "--json").stdout)
    assert {r["model_id"] for r in records} == {"first", "second"}
    fields = {
        "model_id", "formula_pretty", "chemsys", "foundation_model", "state", "threshold_ev",
        "n_labels", "n_waits", "n_audits", "n_audits_within", "coverage_proven", "confidence",
        "created_at",
    }  # fmt: skip
    assert fields <= set(records[0])
    second = next(r for r in records if r["model_id"] == "second")
    assert (second["coverage_proven"], second["confidence"], second["n_waits"]) == (0.9, 0.95, 4)
    assert second["state"] == "needs more audits"
    assert records[0]["created_at"].startswith("2026-01-01T00:00:00")
    assert [r["model_id"] for r in json.loads(
        _invoke(models.app, "list", "AuCu", "--json").stdout)] == ["first"]  # fmt: skip
    table = _invoke(models.app, "list").stdout
    assert "first" in table
    assert "100 meV" in table
    assert "no models match" in _invoke(models.app, "list", "NaCl").stdout
    assert "not a chemical" in _invoke(models.app, "list", "Xx2", code=2).stderr


def test_show_and_compare(library):
    shown = json.loads(_invoke(models.app, "show", "first", "--json").stdout)
    assert shown["calibration"]["n"] == 6
    assert "weights" not in shown
    listed = json.loads(_invoke(models.app, "list", "--json").stdout)
    assert {r["model_id"]: r for r in listed}["first"].items() <= shown.items()
    assert "19" in _invoke(models.app, "show", "first").stdout
    assert "no model 'third'" in _invoke(models.app, "show", "third", code=2).stderr
    columns = json.loads(_invoke(models.app, "compare", "first", "second", "--json").stdout)
    assert [c["state"] for c in columns] == ["ready", "needs more audits"]
    assert "≠" in _invoke(models.app, "compare", "first", "second").stdout


def test_export_of_model_and_labels(library, tmp_path):
    _invoke(models.app, "export", "first", "--to", tmp_path / "model")
    atoms = read(tmp_path / "model/labels.extxyz", "2")
    assert atoms.get_potential_energy() == -12.0
    atoms.calc = load_calculator(path=tmp_path / "model")
    assert atoms.get_potential_energy() < 1e3
    _invoke(models.app, "export-labels", "--to", tmp_path / "all.extxyz", "--formula", "CuAu")
    assert len(read(tmp_path / "all.extxyz", ":")) == 3
    result = _invoke(models.app, "export-labels", "--to", tmp_path / "x", "--formula", "K", code=2)
    assert "no labels" in result.stderr


@job(data=["weights"], output_schema=FineTunedModelDoc)
def _publish(doc):
    return doc


@pytest.mark.mongo
def test_a_library_moves_to_a_server(library, mongo_server, tmp_path, monkeypatch):
    root = get_settings().ARTIFACT_DIR
    flow = _publish(toy_model(root, "by-job", seed=3))
    flow.update_metadata({"onfly": {"run_id": "run-by-job"}})
    run_locally(flow, store=job_store(), ensure_success=True, log=False)
    library.add_runs()
    target = tmp_path / "server.yaml"
    target.write_text(yaml.safe_dump({"JOB_STORE": mongo_server.job_store_spec()}))
    ModelLibrary.from_settings()
    output = _invoke(store_command.app, "copy", "--to", target).stdout
    assert "outputs: 1 documents, 1 blobs" in output
    assert "onfly_models: 3 documents, 2 blobs" in output
    assert "onfly_labels: 3 documents" in output
    again = _invoke(store_command.app, "copy", "--to", target).stdout
    assert "onfly_models: 3 documents, 0 blobs" in again
    root.rename(root.with_name("gone"))
    settings = get_settings(JOB_STORE=mongo_server.job_store_spec())
    there = ModelLibrary.from_settings(settings)
    for model_id in ("first", "second", "by-job"):
        assert there.calculator(model_id)
    output = job_store(settings)
    output.connect()
    assert output.get_output(flow.uuid, load=True)["weights"][0]["sha256"]


def test_one_run_is_copied_between_folders(library, tmp_path):
    library.add_runs()
    _invoke(store_command.app, "copy", "--to", tmp_path / "other", "--run", "run-first")
    other = ModelLibrary.from_job_store(embedded_job_store(tmp_path / "other"))
    assert [m.model_id for m in other.query()] == ["first"]
    assert other.labels_store.count() == 3
    result = _invoke(store_command.app, "copy", code=2)
    assert "same store" in result.stderr
    assert "no file" in _invoke(store_command.app, "copy", "--to", "x.yaml", code=2).stderr


def _findings(code):
    return json.loads(_invoke(doctor.app, "--json", code=code).stdout)


def test_doctor_on_a_good_machine():
    findings = _findings(0)
    assert {f["check"] for f in findings} >= {"settings", "stores", "device", "labellers", "VASP"}
    store = job_store()
    store.connect()
    assert store.count() == 0, "the doctor leaves nothing behind"
    assert list(store.additional_stores["data"].files.rglob("*.gz")) == []
    table = _invoke(doctor.app).stdout
    assert "data store works" in table


@pytest.mark.parametrize(
    ("name", "value", "check", "words"),
    [
        ("ONFLY_ARTIFACT_DIR", "/proc/none", "artifact directory", "cannot be written"),
        ("ONFLY_ARTEFACT_DIR", "/tmp", "settings", "means nothing"),
        ("ONFLY_CONFIG_FILE", "/nowhere.yaml", "settings", "does not exist"),
        ("ONFLY_DEVICE", "nonsense", "settings", "DEVICE"),
        ("ONFLY_JOB_STORE", '{"docs_store": {"type": "MemoryStore"}}', "stores", "`data`"),
    ],
)
def test_doctor_finds_what_is_wrong(monkeypatch, name, value, check, words):
    monkeypatch.setenv(name, value)
    errors = [f for f in _findings(1) if f["level"] == "error"]
    assert [f["check"] for f in errors] == [check]
    assert words in errors[0]["message"]
    assert errors[0]["remedy"]


def _errors(rmse):
    return ErrorStatistics(
        n=20,
        within_threshold=19,
        rmse=rmse,
        foundation_rmse=0.21,
        force_rmse=0.04,
        foundation_force_rmse=0.16,
    )


def test_compare_as_a_page(library, tmp_path):
    root = get_settings().ARTIFACT_DIR
    for name, rmse in (("a-1", 0.02), ("b-2", 0.05)):
        known = {"n_labels": 40, "n_waits": 9, "coverage_interval": (0.75, 0.99)}
        library.publish(toy_model(root, name, audits=_errors(rmse), verdict=VERDICT, **known))
    page = tmp_path / "out/compare.html"
    shown = _invoke(models.app, "compare", "a-1", "b-2", "--html", page)
    assert str(page) in shown.stdout
    text = page.read_text()
    assert "2 models compared" in text
    assert text.count('data-figure="compare-') == 4
    assert "40 in 9 waits" in text
    assert "≠" in text
    urls = set(re.findall(r"https?://[\w.]+", text))
    assert urls <= {"http://www.w3.org"}, "the page needs no network"
    pictures = {path.stem for path in (tmp_path / "out/compare_figures").glob("*.png")}
    assert pictures == {f"compare-{n}" for n in ("energy", "force", "labels", "coverage")}
    columns = _invoke(models.app, "compare", "a-1", "b-2", "--html", page, "--json").stdout
    assert len(json.loads(columns)) == 2
    # what a model has no numbers for is left out
    _invoke(models.app, "compare", "first", "second", "--html", page)
    assert page.read_text().count("<figure") == 2
    assert "two models" in _invoke(models.app, "compare", "a-1", "--html", page, code=2).stderr
