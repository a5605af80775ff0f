"""A project of jobflow-remote on the test server, with a runner process and two local workers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml


@dataclass
class Project:
    """The project, and the environment in which its commands run."""

    name: str
    folder: Path
    environment: dict[str, str]

    def command(self, *words: str, seconds: float = 240) -> str:
        """Run ``jf`` in a process of its own and return what it says."""
        found = subprocess.run(
            [str(Path(sys.executable).parent / "jf"), "-p", self.name, *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def runner(self) -> subprocess.Popen:
        """Start the runner."""
        with (self.folder / "runner.log").open("w") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "jf"), "-p", self.name, "runner", "run"],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@pytest.fixture
def project(mongo_server, tmp_path):
    host, port = mongo_server.host_port
    place = {"host": host, "port": port, "database": mongo_server.database}
    projects = tmp_path / "jfremote"
    projects.mkdir()
    local: dict[str, Any] = {
        "type": "local",
        "scheduler_type": "shell",
        "work_dir": str(tmp_path / "jobs"),
        "max_jobs": 1,
    }
    batch = {
        "jobs_handle_dir": str(tmp_path / "handle"),
        "work_dir": str(tmp_path / "batch"),
        "max_wait": 120,
        "sleep_time": 1,
    }
    content = {
        "name": "onfly",
        # a process for each job would spend its time on imports: both workers keep one warm
        "workers": {
            "gpu": {**local, "batch": batch},
            "cpu": {
                **local,
                "batch": batch | {k: f"{v}-cpu" for k, v in batch.items() if k.endswith("dir")},
            },
        },
        "runner": {
            "delay_checkout": 1,
            "delay_check_run_status": 1,
            "delay_advance_status": 1,
            "delay_update_batch": 1,
            "delay_refresh_limited": 2,
        },
        "queue": {"store": {"type": "MongoStore", "collection_name": "jf_jobs", **place}},
        "jobstore": {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **place},
            "additional_stores": {
                "data": {"type": "GridFSStore", "collection_name": "blobs", **place}
            },
        },
    }
    (projects / "onfly.yaml").write_text(yaml.safe_dump(content))
    jobflow = tmp_path / "jobflow.yaml"
    jobflow.write_text(yaml.safe_dump({"JOB_STORE": content["jobstore"]}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ONFLY_", "JOBFLOW"))}
    environment |= {
        "JFREMOTE_PROJECTS_FOLDER": str(projects),
        "JFREMOTE_CLI_SUGGESTIONS": "false",
        "JOBFLOW_CONFIG_FILE": str(jobflow),
        "ONFLY_ARTIFACT_DIR": str(tmp_path / "artifacts"),
        "ONFLY_STORE_DIR": str(tmp_path / "store"),
        "ONFLY_N_WORKERS": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    found = Project("onfly", tmp_path, environment)
    found.command("admin", "reset", "--yes")
    return found
