"""A campaign that learns, from a LaunchPad: one workflow that starts the compounds in waves."""

from __future__ import annotations

import json

import pytest
import typer
from fireworks import FWorker
from fireworks.core.rocket_launcher import rapidfire
from typer.testing import CliRunner

from onfly.classes.library import ClassLibrary
from onfly.cli import status, submit
from onfly.flows.campaign import CampaignMaker
from onfly.flows.launchpad import failures
from onfly.flows.waves import waves_of
from onfly.library import ModelLibrary
from onfly.spec.classes import ClassCampaignSpec
from tests.campaign.cluster import Cluster
from tests.campaign.conftest import config, metals

pytestmark = [pytest.mark.mongo, pytest.mark.fireworks]

LEARNING = {
    "name": "alloys",
    "every": 2,
    "fit": {"n_steps": 10, "replay": 3, "check": 3, "folds": 0},
}
BAD = {
    "name": "onfly.labels.ase.AseLabelMaker",
    "kwargs": {"calculator": "tests.flows.flaky.FlakyEMT", "calculator_kwargs": {"n_good": 0}},
}


@pytest.fixture
def cluster(mongo_server, tmp_path, monkeypatch):
    host, port = mongo_server.host_port
    cluster = Cluster(tmp_path / "cluster", host, port, mongo_server.database)
    # written into the jobs: jobflow reads its own settings when it is imported, once
    monkeypatch.setenv("ONFLY_JOB_STORE", json.dumps(mongo_server.job_store_spec()))
    yield cluster
    cluster.stop()


def test_waves_go_on_past_a_compound_that_fails(cluster, tmp_path):
    structures = metals(3)
    maker = CampaignMaker(campaign="alloys")
    runs = {maker.run_id(s): s for s in structures}
    (bad, good), (last,) = waves_of(ClassCampaignSpec.model_validate(LEARNING), runs)
    path = config(
        tmp_path,
        3,
        campaign="alloys",
        audit_interval=5,
        mode="resident",
        class_model=LEARNING,
        overrides={bad: {"labeller": BAD}},
    )
    app = typer.Typer()
    submit.register(app)
    status.register(app)
    words = ["submit", path, "--to", "fireworks", "--launchpad", str(cluster.launchpad_file)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "3 of 3 compounds" in result.output
    # submitted again, nothing is added
    assert "3 compounds are submitted already" in CliRunner().invoke(app, words).output
    assert cluster.launchpad.workflows.count_documents({}) == 1
    rapidfire(cluster.launchpad, fworker=FWorker(), m_dir=str(tmp_path), strm_lvl="ERROR")
    origins = {m.run_id: m.foundation_model for m in ModelLibrary.from_settings().query()}
    assert origins == {good: "toy", last: "class:alloys@1"}
    assert [doc.version for doc in ClassLibrary.from_settings().documents("alloys")] == [1, 2]
    assert list(failures(cluster.launchpad, "alloys")) == [bad]
