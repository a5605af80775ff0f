"""A campaign from a LaunchPad, run by worker processes."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from jobflow import run_locally
from typer.testing import CliRunner

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli import status, submit
from onfly.flows import CampaignMaker, OnTheFlyMaker
from onfly.labels.store import LabelStore
from onfly.library import ModelLibrary
from onfly.settings import get_settings
from onfly.spec.campaign import CampaignFile
from onfly.spec.yaml import load
from onfly.stores import job_store
from onfly.testing.mongo import URI_VARIABLE, WireServer
from tests.campaign.cluster import Cluster
from tests.campaign.conftest import config as campaign_file
from tests.campaign.conftest import metals

pytestmark = [pytest.mark.mongo, pytest.mark.fireworks]

WORKERS = ("cpu-a", "cpu-b", "gpu-a", "gpu-b")
GPU = ("otf segment", "otf round", "otf update", "otf calibration", "otf resident")


@pytest.fixture
def cluster(mongo_server, tmp_path, monkeypatch):
    host, port = mongo_server.host_port
    cluster = Cluster(tmp_path / "cluster", host, port, mongo_server.database)
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(cluster.jobflow_file))
    yield cluster
    cluster.stop()


@pytest.fixture
def app():
    app = typer.Typer()
    submit.register(app)
    status.register(app)
    return app


def config(tmp_path, n):
    """Write the file of a campaign of n compounds."""
    stages = [{"n_steps": 10, "temperature": 300, "time_step": 2.0}]
    path = campaign_file(tmp_path, n, campaign="alloys", audit_interval=5, stages=stages)
    return Path(path)


def command(app, *words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def submitted(app, cluster, path):
    return command(app, "submit", path, "--to", "fireworks", "--launchpad", cluster.launchpad_file)


def labels_of(workspace):
    store = LabelStore(workspace.store.root / "labels")
    entries = workspace.read_ledger(workspace.read_state().posterior.n_records).entries
    return [store.get(entry.label) for entry in entries if entry.label]


def check_categories(launchpad):
    """Every launch was by a worker of the category of its job."""
    names = {d["fw_id"]: d["name"] for d in launchpad.fireworks.find({}, {"fw_id": 1, "name": 1})}
    seen = Counter()
    for launch in launchpad.launches.find({}, {"fw_id": 1, "fworker": 1}):
        expected = "gpu" if names[launch["fw_id"]].startswith(GPU) else "cpu"
        assert launch["fworker"]["category"] == expected, names[launch["fw_id"]]
        seen[expected] += 1
    assert min(seen["cpu"], seen["gpu"]) > 0


def check_published(n, campaign="alloys"):
    """All compounds have a model, all its labels and its weights, in the database alone."""
    library = ModelLibrary.from_job_store(job_store())
    models = library.query(campaign=campaign)
    assert len({m.run_id for m in models}) == len(models) == n
    assert len({(m.formula_pretty, m.structure.volume) for m in models}) == n
    for model in models:
        assert model.n_steps >= 10
        stored = list(library.labels_store.query({"run_id": model.run_id}, sort={"index": 1}))
        files = labels_of(RunWorkspace(get_settings().ARTIFACT_DIR, model.run_id))
        assert [s["index"] for s in stored] == list(range(model.n_labels))
        assert [s["energy"] for s in stored] == [label.energy for label in files]
        assert {s["campaign"] for s in stored} == {campaign}
    run_ids = {doc["run_id"] for doc in library.runs_store.query({"campaign": campaign})}
    assert run_ids == {m.run_id for m in models}
    return models


def check_numbers(path, model, tmp_path, monkeypatch):
    """A run of the campaign gives the numbers of the same run done here."""
    settings = get_settings()
    there = RunWorkspace(settings.ARTIFACT_DIR, model.run_id)
    file = load(path, CampaignFile)
    maker = OnTheFlyMaker(spec=file.spec, mode=file.mode)
    campaign = CampaignMaker(campaign=file.campaign, maker=maker)
    structure = next(s for s in metals(49) if campaign.run_id(s) == model.run_id)
    with monkeypatch.context() as patch:
        patch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "again"))
        patch.delenv("JOBFLOW_CONFIG_FILE")
        run_locally(campaign.flow(structure), store=job_store(), ensure_success=True, log=False)
        here = RunWorkspace(get_settings().ARTIFACT_DIR, model.run_id)
        ours = labels_of(here)
    theirs = labels_of(there)
    assert [(x.energy, x.forces) for x in ours] == [(x.energy, x.forces) for x in theirs]
    states = [workspace.read_state().posterior for workspace in (here, there)]
    ledgers = [
        [{**e.model_dump(), "label": None} for e in w.read_ledger(s.n_records).entries]
        for w, s in zip((here, there), states, strict=True)
    ]
    assert ledgers[0] == ledgers[1]
    weights = [[m.sha256 for m in state.ensemble.members] for state in states]
    assert weights[0] == weights[1]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("workers", "n"),
    [(("cpu-a", "gpu-a"), 2), pytest.param(WORKERS, 4, marks=pytest.mark.slow)],
    ids=["two", "four"],
)
def test_workers_publish_a_campaign(workers, n, app, cluster, tmp_path, monkeypatch):
    path = config(tmp_path, n)
    assert f"{n} of {n} compounds" in submitted(app, cluster, path)
    for name in workers:
        cluster.start(name)
    cluster.wait(lambda states: cluster.done(), 540)
    check_categories(cluster.launchpad)
    launches = Counter(d["fw_id"] for d in cluster.launchpad.launches.find({}, {"fw_id": 1}))
    assert set(launches.values()) == {1}
    assert sum(launches.values()) == cluster.launchpad.fireworks.count_documents({})
    models = check_published(n)
    check_numbers(path, models[0], tmp_path, monkeypatch)
    assert f"0 of {n} compounds" in submitted(app, cluster, path)
    records = json.loads(command(app, "status", "--campaign", "alloys", "--json"))
    assert len(records) == n
    assert {r["phase"] for r in records} == {"done"}
    assert all(r["n_labels"] > 1 for r in records)


def test_submitting_again_adds_only_what_is_missing(app, cluster, tmp_path):
    assert "3 of 3 compounds" in submitted(app, cluster, config(tmp_path, 3))
    output = submitted(app, cluster, config(tmp_path, 5))
    assert "3 compounds are submitted already" in output
    assert "2 of 5 compounds" in output
    assert cluster.launchpad.workflows.count_documents({}) == 5
    assert cluster.launchpad.fireworks.count_documents({}) == 2 * 5
    # a submission that was interrupted between two writes is mended
    workflow = cluster.launchpad.workflows.find_one({})
    cluster.launchpad.fireworks.delete_one({"fw_id": workflow["nodes"][-1]})
    assert "1 of 5 compounds" in submitted(app, cluster, config(tmp_path, 5))
    assert cluster.launchpad.fireworks.count_documents({}) == 2 * 5
    # what was archived is wanted again
    cluster.launchpad.archive_wf(cluster.launchpad.workflows.find_one({})["nodes"][0])
    assert "1 of 5 compounds" in submitted(app, cluster, config(tmp_path, 5))
    records = json.loads(command(app, "status", "--campaign", "alloys", "--json"))
    assert {r["state"] for r in records} == {"waiting"}
    assert len(records) == 5
    # what each waits for: a worker that takes its first job
    assert {tuple(r["queue"].items()) for r in records} == {(("READY", 1),)}


def test_a_failed_job_is_shown_with_its_reason(app, cluster, tmp_path, monkeypatch):
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    path = config(tmp_path, 2)
    submitted(app, cluster, path)
    formula = metals(1)[0].composition.reduced_formula
    fireworks = cluster.launchpad.fireworks
    first = fireworks.find_one({"name": "otf round"}, sort=[("fw_id", 1)])
    launch_rocket(cluster.launchpad, FWorker(category="gpu"), fw_id=first["fw_id"])
    label = fireworks.find_one({"name": "emt label 0"})
    records = json.loads(command(app, "status", "--campaign", "alloys", "--json"))
    held = next(r for r in records if r["formula_pretty"] == formula)
    assert held["state"] == "running"
    assert held["waits_since"]
    assert set(held["queue"]) == {"READY"}, "labels that no worker has taken"
    with monkeypatch.context() as patch:
        patch.setattr("onfly.labels.ase.AseLabelMaker.run", _broken)
        launch_rocket(cluster.launchpad, FWorker(category="cpu"), fw_id=label["fw_id"])
    # the round cannot do without its first label, and says why it is missing
    again = fireworks.find_one({"name": "otf round 0"})
    launch_rocket(cluster.launchpad, FWorker(category="gpu"), fw_id=again["fw_id"])
    records = json.loads(command(app, "status", "--campaign", "alloys", "--json"))
    assert [r["state"] for r in records] == ["failed", "waiting"]
    assert records[0]["formula_pretty"] == formula
    assert "no licence" in records[0]["failure"]
    assert "otf round" in records[0]["failure"]
    assert "1 compounds have failed: mend the cause" in submitted(app, cluster, path)


def _broken(*args, **kwargs):
    raise RuntimeError("no licence")


def test_workers_without_a_database_are_refused(app, cluster, tmp_path, monkeypatch):
    monkeypatch.delenv("JOBFLOW_CONFIG_FILE")
    result = CliRunner().invoke(
        app,
        [
            *("submit", str(config(tmp_path, 1)), "--to", "fireworks"),
            *("--launchpad", str(cluster.launchpad_file)),
        ],
    )
    assert result.exit_code == 2
    assert "set JOB_STORE in ~/.jobflow.yaml" in result.output


@pytest.mark.slow
def test_200_compounds_are_submitted_in_a_minute(app, cluster, tmp_path):
    structures = []
    for seed in range(200):
        structure = metals(49)[seed % 49]
        structure.perturb(0.01 * (1 + seed // 49))
        structures.append(structure)
    path = config(tmp_path, 1)
    (tmp_path / "structures.json").write_text(json.dumps([s.as_dict() for s in structures]))
    begin = time.monotonic()
    assert "200 of 200 compounds" in submitted(app, cluster, path)
    seconds = time.monotonic() - begin
    print(f"200 compounds submitted in {seconds:.1f} s")  # noqa: T201
    assert seconds < 60
    assert cluster.launchpad.workflows.count_documents({}) == 200
    begin = time.monotonic()
    assert "0 of 200 compounds" in submitted(app, cluster, path)
    assert time.monotonic() - begin < 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(URI_VARIABLE in os.environ, reason="the user's server is not killed")
def test_nothing_is_lost_when_workers_and_server_are_killed(app, tmp_path, monkeypatch):
    server = WireServer(tmp_path / "server").start()
    assert server.proxy is not None
    cluster = Cluster(tmp_path / "cluster", "127.0.0.1", server.proxy.port, "campaign")
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(cluster.jobflow_file))
    try:
        path = config(tmp_path, 30)
        assert "30 of 30 compounds" in submitted(app, cluster, path)
        for name in WORKERS:
            cluster.start(name)

        def completed(number):
            return lambda states: states.get("COMPLETED", 0) >= number

        cluster.wait(completed(40), 600)
        for name, category in (("cpu-a", "cpu"), ("gpu-b", "gpu")):
            cluster.wait(lambda states, c=category: cluster.busy(c), 60)
            cluster.kill(name)
        cluster.wait(completed(90), 600)
        server.kill()
        time.sleep(3)
        server.start()
        cluster.wait(lambda states: cluster.done(), 2400)
        launchpad = cluster.launchpad
        check_categories(launchpad)
        # what was spawned at the moment of the server's death belongs to no workflow
        known = [n for d in launchpad.workflows.find({}, {"nodes": 1}) for n in d["nodes"]]
        done = set(launchpad.get_fw_ids({"fw_id": {"$in": known}, "state": "COMPLETED"}))
        ended = Counter(
            d["fw_id"] for d in launchpad.launches.find({"state": "COMPLETED"}, {"fw_id": 1})
        )
        assert done <= set(ended)
        # nothing was run twice but what had to be run again by hand
        assert {n for n in done if ended[n] > 1} <= cluster.rerun
        # only a label may be missing: its run asked for it again
        for firework in launchpad.fireworks.find(
            {"fw_id": {"$in": known}, "state": {"$ne": "COMPLETED"}}
        ):
            assert firework["name"].startswith("emt label"), firework["name"]
        models = check_published(30)
        for model in models[:3]:
            check_numbers(path, model, tmp_path / model.run_id, monkeypatch)
        outputs = job_store()
        outputs.connect()
        seen = Counter((d["uuid"], d["index"]) for d in outputs.query({}, ["uuid", "index"]))
        assert set(seen.values()) == {1}
        audits = np.array([[m.n_audits, m.n_labels] for m in models])
        assert (audits[:, 1] > 1).all()
    finally:
        cluster.stop()
        server.stop()
