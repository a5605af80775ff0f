"""The files in workflows/ are what the programs they are for can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fireworks import FWorker
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

from onfly.settings import get_settings
from onfly.spec.campaign import CampaignFile
from onfly.spec.yaml import load
from onfly.stores import job_store

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.mark.parametrize("category", ["cpu", "gpu"])
def test_workers_and_their_queues(category):
    folder = WORKFLOWS / "fireworks"
    worker = FWorker.from_file(str(folder / f"my_fworker_{category}.yaml"))
    assert worker.category == category
    adapter = CommonAdapter.from_file(str(folder / f"my_qadapter_{category}.yaml"))
    adapter["launch_dir"] = "/somewhere"
    script = adapter.get_script_str("/somewhere")
    assert f"my_fworker_{category}.yaml rapidfire" in script
    assert "#SBATCH --time=24:00:00" in script
    assert "export ONFLY_ARTIFACT_DIR=" in script
    assert "$${" not in script
    assert ("ONFLY_DEVICE=cuda" in script) == (category == "gpu")


def test_configuration_of_fireworks():
    from fireworks import fw_config

    content = yaml.safe_load((WORKFLOWS / "fireworks" / "FW_config.yaml").read_text())
    assert set(content) <= set(vars(fw_config))
    assert content["RUN_EXPIRATION_SECS"] >= 3 * content["PING_TIME_SECS"]


def test_the_store_has_the_additional_store_that_weights_need():
    content = yaml.safe_load((WORKFLOWS / "jobflow.yaml").read_text())
    store = job_store(get_settings(JOB_STORE=content["JOB_STORE"]))
    assert list(store.additional_stores) == ["data"]
    project = yaml.safe_load((WORKFLOWS / "jobflow_remote" / "onfly.yaml").read_text())
    assert project["jobstore"] == content["JOB_STORE"]


def test_the_campaign():
    config = load(WORKFLOWS / "campaign.yaml", CampaignFile)
    assert config.mode == "chained"
    assert config.settings_for("CaZrS3").tolerance[0].value == pytest.approx(0.03)
