"""Each kind of damage is named with what it can be made again from, and hides nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3

import pytest
import typer
from jobflow import run_locally
from typer.testing import CliRunner

from onfly.cli import doctor, models, status
from onfly.cli.verify import verify_all
from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.manifest import CampaignManifest
from onfly.library import ModelLibrary, add_models, repair_model, restore_labels
from onfly.rounds.recorder import Recorder
from onfly.settings import get_settings
from onfly.stores import job_store
from tests.campaign.conftest import metals
from tests.faults.counted import FILE, calls, kept
from tests.faults.numbers import numbers
from tests.faults.small import go
from tests.faults.victim import spec

SETTINGS = ("ONFLY_ARTIFACT_DIR", "ONFLY_STORE_DIR")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Return a folder with two published runs of a campaign and a run that was interrupted."""
    home = tmp_path_factory.mktemp("damage") / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
        patch.setenv("ONFLY_STORE_DIR", str(home / "store"))
        patch.delenv("JOBFLOW_CONFIG_FILE", raising=False)
        patch.delenv("ONFLY_CONFIG_FILE", raising=False)
        patch.chdir(home)
        flat = spec(1).to_flat(defaults=True) | {"labeller": "emt"}
        names = {}
        for name, structure in zip(("one", "two"), metals(2), strict=True):
            maker = OnTheFlyMaker(
                spec=type(spec(1)).from_flat(flat), mode="resident", campaign="metals"
            )
            flow = maker.make(structure, run_id=name)
            run_locally(flow, store=job_store(), ensure_success=True, log=False)
            names[name] = structure.composition.reduced_formula
        CampaignManifest(campaign="metals", target="local", compounds=names).write(
            get_settings().ARTIFACT_DIR
        )
        ModelLibrary.from_settings().add_runs()
    for path in (home / "store/onfly").iterdir():
        if path.is_file() and "." not in path.name and not path.name.endswith(("-wal", "-shm")):
            # what stands in the write-ahead log alone would hide damage of the file
            with contextlib.closing(sqlite3.connect(path)) as base:
                base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home


@pytest.fixture
def home(original, tmp_path, monkeypatch):
    """Return a copy that may be damaged, and settings that name it."""
    copy = tmp_path / "home"
    shutil.copytree(original, copy)
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(copy / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(copy / "store"))
    monkeypatch.delenv("JOBFLOW_CONFIG_FILE", raising=False)
    monkeypatch.delenv("ONFLY_CONFIG_FILE", raising=False)
    return copy


def call(*words):
    app = typer.Typer()
    doctor.register(app)
    status.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def files(home, pattern):
    found = sorted(home.glob(pattern))
    assert found, pattern
    return found


def flipped(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def garbage(path):
    path.write_bytes(b"\xff\xfe\x00 no such thing \x93" * 40)


def deep(path):
    path.write_text("[" * 100_000)


def swapped(path):
    path.write_text('"a word"')


def changed_energy(path):
    content = json.loads(path.read_text())
    content["label"]["energy"] += 0.1
    path.write_text(json.dumps(content))


LABEL = "artifacts/labels/objects/*/*.json"
RUN = "artifacts/runs/one"
# what is damaged, how, level, and words of message and remedy
CASES = [
    (LABEL, changed_energy, "error", "energy changed", "is then computed anew"),
    (LABEL, cut, "error", "it is no label", "is then computed anew"),
    (f"{RUN}/run.json", cut, "error", "is damaged", "seed_from: [one]"),
    (f"{RUN}/run.json", garbage, "error", "is damaged", "seed_from: [one]"),
    (f"{RUN}/run.json", deep, "error", "is damaged", "seed_from: [one]"),
    (f"{RUN}/run.json", swapped, "error", "is damaged", "seed_from: [one]"),
    (f"{RUN}/run.json", os.remove, "error", "is missing", "seed_from: [one]"),
    (f"{RUN}/ledger.jsonl", cut, "error", "lines", "from a backup"),
    (f"{RUN}/ledger.jsonl", garbage, "error", "ledger.jsonl", "from a backup"),
    (f"{RUN}/model.json", cut, "error", "is damaged", "onfly resume one"),
    (f"{RUN}/ensembles/*.safetensors", flipped, "", "was changed", ""),
    (f"{RUN}/md/*.safetensors", flipped, "", "was changed", ""),
    (f"{RUN}/answers/*.json", garbage, "warning", "is damaged", "found by its configuration"),
    (f"{RUN}/training/*.json", cut, "warning", "is damaged", "only the report"),
    (f"{RUN}/progress.json", garbage, "warning", "is damaged", "nothing is lost"),
    (f"{RUN}/progress.json", swapped, "warning", "is damaged", "nothing is lost"),
    (f"{RUN}/trajectories/000/checkpoint.json", cut, "warning", "is damaged", "begins again"),
    (f"{RUN}/trajectories/000/checkpoint.json", swapped, "warning", "is damaged", "begins again"),
    (f"{RUN}/trajectories/000/thermo/*.csv", garbage, "warning", "is damaged", "the run does not"),
    ("artifacts/campaigns/metals.json", cut, "error", "is damaged", "onfly submit"),
    ("store/onfly/onfly_models", garbage, "error", "is damaged", "made again"),
    ("store/onfly/outputs", garbage, "error", "is damaged", "add_models"),
    ("store/onfly/*.files/*/*.json.gz", flipped, "error", "missing or damaged", "repair_model"),
]


@pytest.mark.parametrize(
    ("pattern", "harm", "level", "message", "remedy"),
    CASES,
    ids=[f"{c[0].split('/')[-1]}-{getattr(c[1], '__name__', 'removed')}" for c in CASES],
)
def test_damage_is_named(home, pattern, harm, level, message, remedy):
    if pattern == "store/onfly/outputs":
        pattern = f"store/onfly/{get_settings().OUTPUTS_COLLECTION}"
    path = files(home, pattern)[-1]
    harm(path)
    problems = [p for p in verify_all() if path.name in f"{p.where} {p.message}"]
    assert problems, list(verify_all())
    problem = problems[0]
    assert message in f"{problem.where} {problem.message}"
    assert remedy in problem.remedy
    assert level in ("", problem.level)
    done = call("doctor", "--verify", "--json")
    told = json.loads(done.stdout)
    assert any(path.name in f"{item['where']} {item['message']}" for item in told)
    assert done.exit_code == (1 if any(item["level"] == "error" for item in told) else 0)


def test_what_is_whole_is_sound(home):
    assert list(verify_all()) == []
    done = call("doctor", "--verify")
    assert done.exit_code == 0
    assert "everything is sound" in done.output


@pytest.mark.parametrize("harm", [cut, garbage, deep, swapped])
@pytest.mark.parametrize("name", ["run.json", "progress.json", "model.json", "ledger.jsonl"])
def test_one_damaged_run_hides_no_other(home, name, harm):
    harm(home / RUN / name)
    done = call("status", "--json")
    assert done.exit_code == 0, done.output
    begin = done.stdout.index("[\n")
    assert "two" in {r["run_id"] for r in json.loads(done.stdout[begin:])}
    done = call("status", "--campaign", "metals", "--json")
    assert done.exit_code == 0, done.output
    records = {r["run_id"]: r for r in json.loads(done.stdout)}
    assert set(records) == {"one", "two"}
    assert records["two"]["state"] != "damaged"
    if name == "run.json":
        assert records["one"]["state"] == "damaged"
        assert "run.json" in records["one"]["failure"]
    # models come from the outputs of the jobs, whatever the folders are like
    assert len(ModelLibrary.from_settings().records()) == 2


def test_a_folder_that_is_no_run_hides_none(home):
    shutil.copytree(home / RUN, home / "artifacts/runs/one (copy)")
    done = call("status", "--json")
    assert {r["run_id"] for r in json.loads(done.stdout)} == {"one", "two"}
    problems = list(verify_all())
    assert [p.level for p in problems] == ["warning"]
    assert "none of a run" in problems[0].message


def test_what_the_remedies_say_puts_things_right(home):
    label = files(home, LABEL)[0]
    energy = json.loads(label.read_bytes())["label"]["energy"]
    changed_energy(label)
    assert len(restore_labels()) == 1
    assert json.loads(label.read_bytes())["label"]["energy"] == energy
    assert list(verify_all()) == []

    library = ModelLibrary.from_settings()
    model = library.records(run_id="one")[0]["model_id"]
    for path in files(home, "store/onfly/*.files/*/*.json.gz"):
        path.unlink()
    assert any("weights" in p.where for p in verify_all())
    for record in library.records():
        repair_model(record["model_id"])
    assert list(verify_all()) == []

    weights = next(home.glob(f"artifacts/{library.get(model).ensemble.members[0].path}"))
    flipped(weights)
    assert [p.level for p in verify_all() if weights.name in p.where + p.message]
    repair_model(model)
    assert list(verify_all()) == []


def test_garbage_in_sqlite_is_a_message_and_models_come_back(home):
    outputs = home / "store/onfly" / get_settings().OUTPUTS_COLLECTION
    models = home / "store/onfly/onfly_models"
    for path in (outputs, models):
        garbage(path)
    with pytest.raises(ValueError, match="is damaged"):
        ModelLibrary.from_settings()
    for path in (outputs, models):
        for part in path.parent.glob(f"{path.name}*"):
            if part.is_file():
                part.rename(part.with_name(f"{part.name}.bad.tmp"))
    assert len(add_models()) == 2
    assert [p for p in verify_all() if p.level == "error"] == []


def test_one_damaged_model_hides_no_other(home, caplog):
    library = ModelLibrary.from_settings()
    one = library.models_store.query_one({"run_id": "one"})
    broken = {**one, "n_labels": "many", "calibration": None, "temperature_range": "hot"}
    library.models_store.update({k: v for k, v in broken.items() if k != "_id"}, key="model_id")
    assert [model.run_id for model in library.query()] == ["two"]
    assert f"the document of model {one['model_id']} is damaged" in caplog.text
    app = typer.Typer()
    app.add_typer(models.app, name="models")
    listed = CliRunner().invoke(app, ["models", "list", "--json"])
    assert listed.exit_code == 0, listed.output
    assert {"one", "two"} == {record["run_id"] for record in json.loads(listed.stdout)}
    assert CliRunner().invoke(app, ["models", "list"]).exit_code == 0
    assert [p for p in verify_all() if one["model_id"] in p.where]


def test_a_document_that_cannot_be_decoded(home):
    path = home / "store/onfly/onfly_models"
    with sqlite3.connect(path) as base:
        base.execute("UPDATE documents SET doc = X'00FF00' WHERE rowid = 1")
    base.close()
    problems = [p for p in verify_all() if "onfly_models" in p.where]
    assert "cannot be decoded" in problems[0].message


# -- a run that goes on from damaged files ------------------------------------------------------
class Interrupted(BaseException):
    """Ends a run at a place of our choice."""


def interrupted(home, monkeypatch):
    """Leave a run in the middle of a segment, behind a checkpoint."""
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
    monkeypatch.setenv(FILE, str(home / "calls"))
    home.mkdir()
    monkeypatch.chdir(home)
    original = Recorder.checkpoint

    def checkpoint(self, state, requests=()):
        ref = original(self, state, requests)
        if state.step == 3:  # in the middle of what the round goes through
            raise Interrupted
        return ref

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "checkpoint", checkpoint)
        with pytest.raises(Interrupted):
            go(home)
    return home / "artifacts" / "runs" / "r"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONFLY_ARTIFACT_DIR", str(home / "artifacts"))
        patch.setenv(FILE, str(home / "calls"))
        patch.chdir(home)
        go(home)
    return numbers(home / "artifacts")


@pytest.mark.parametrize("harm", [cut, garbage, deep, swapped, os.remove])
@pytest.mark.parametrize(
    "name", ["checkpoint.json", "md", "progress.json", "answers", "requests of the checkpoint"]
)
def test_a_run_goes_on_without_what_costs_nothing(tmp_path, monkeypatch, expected, name, harm):
    folder = interrupted(tmp_path / "home", monkeypatch)
    checkpoint = folder / "trajectories" / "000" / "checkpoint.json"
    content = json.loads(checkpoint.read_text())
    if name == "checkpoint.json":
        harm(checkpoint)
    elif name == "md":
        harm(tmp_path / "home" / "artifacts" / content["md_state"]["path"])
    elif name == "answers":
        for path in (folder / "answers").iterdir():
            harm(path)
    elif name == "requests of the checkpoint":
        checkpoint.write_text(json.dumps(content | {"requests": [{"reason": 3}]}))
    else:
        harm(folder / name)
    go(tmp_path / "home")
    assert numbers(tmp_path / "home" / "artifacts") == expected
    assert len(calls(tmp_path / "home" / "calls")) == len(kept(tmp_path / "home" / "artifacts"))
