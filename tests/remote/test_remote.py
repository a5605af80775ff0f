"""A campaign by jobflow-remote: its runner, two local workers, and our command in theirs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from jobflow import JobStore
from pymatgen.io.ase import AseAtomsAdaptor

pytestmark = [pytest.mark.remote, pytest.mark.mongo]
pytest.importorskip("jobflow_remote")

GPU = ("otf round", "otf segment", "otf update")


def config(folder, n):
    structures = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.02, seed=seed)
        structures.append(AseAtomsAdaptor.get_structure(atoms).as_dict())
    (folder / "structures.json").write_text(json.dumps(structures))
    content = {
        "campaign": "copper",
        "structures": {"pymatgen": "structures.json"},
        "foundation_model": "toy",
        "threshold": "100 meV",
        "labeller": "emt",
        "stages": [{"n_steps": 6, "temperature": 300, "time_step": 2.0}],
        "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 5},
        "audit_interval": 4,
        "proof": {"coverage": 0.5, "failures": 0, "steps": 10},
        "n_workers": 1,
    }
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_the_project_file_is_valid():
    from jobflow_remote.config.base import Project

    path = Path(__file__).parents[2] / "workflows" / "jobflow_remote" / "onfly.yaml"
    project = Project(**yaml.safe_load(path.read_text()))
    assert set(project.workers) == {"cpu", "gpu"}
    assert project.workers["gpu"].batch is not None


def test_our_command_is_mounted_in_theirs(project):
    assert "onfly" in project.command("plugin", "list")
    assert "--campaign" in project.command("onfly", "status", "--help")


def test_submitting_again_adds_only_what_is_missing(project):
    first = project.command("onfly", "submit", config(project.folder, 2), "--to", "remote")
    assert "2 of 2 compounds" in first
    again = project.command("onfly", "submit", config(project.folder, 3), "--to", "remote")
    assert "2 compounds are submitted already" in again
    assert "1 of 3 compounds" in again
    said = project.command("onfly", "status", "--campaign", "copper", "--json")
    records = json.loads(said[said.index("[\n {") :])  # jf names the project before it
    assert [r["queue"].get("READY") for r in records] == [1, 1, 1], "no worker has taken a job"


@pytest.mark.timeout(1500)
def test_a_campaign_runs_to_its_end(project):
    """A chained flow of one compound, whose jobs come to their workers however deep."""
    from jobflow_remote.config.base import Project

    project.command("onfly", "submit", config(project.folder, 1), "--to", "remote")
    settings = Project(**yaml.safe_load((project.folder / "jfremote/onfly.yaml").read_text()))
    controller = settings.get_job_controller()
    runner = project.runner()
    try:
        deadline = time.monotonic() + 1200
        while True:
            jobs = list(controller.jobs.find({}, {"state": 1, "job.name": 1, "worker": 1}))
            states = {doc["state"] for doc in jobs}
            if states == {"COMPLETED"}:
                break
            log = (project.folder / "runner.log").read_text()[-3000:]
            assert not states & {"FAILED", "REMOTE_ERROR"}, (jobs, log)
            assert runner.poll() is None, log
            assert time.monotonic() < deadline, (jobs, log)
            time.sleep(1)
    finally:
        runner.terminate()
        runner.wait(60)
    names = [doc["job"]["name"] for doc in jobs]
    assert any(name.startswith("otf round") for name in names)
    assert any(name.startswith("otf archive labels") for name in names)
    for doc in jobs:
        expected = "gpu" if doc["job"]["name"].startswith(GPU) else "cpu"
        assert doc["worker"] == expected, doc["job"]["name"]
    store = settings.get_jobstore()
    assert isinstance(store, JobStore)
    store.connect()
    model = store.query_one({"output.doc_type": "model"}, load=True)["output"]
    assert model["campaign"] == "copper"
    assert model["n_steps"] > 6  # those of the closing block count
    assert model["weights"][0]["chunks"]
    batch = store.query_one({"output.doc_type": "labels"})["output"]
    assert len(batch["labels"]) == model["n_labels"]
    output = project.command("onfly", "status", "--campaign", "copper", "--json")
    records = json.loads(output[output.index("[\n") :])  # theirs says before which project it is
    assert [r["phase"] for r in records] == ["done"]
    again = project.command("onfly", "submit", config(project.folder, 1), "--to", "remote")
    assert "0 of 1 compounds" in again
    assert os.listdir(project.folder / "artifacts" / "runs") == [model["run_id"]]
