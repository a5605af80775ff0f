"""Real worker processes on one machine: two for the CPU category, two for the GPU category."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fireworks import LaunchPad
from pymongo.errors import PyMongoError

WORKFLOWS = Path(__file__).parents[2] / "workflows" / "fireworks"
# as workflows/fireworks/FW_config.yaml, in seconds instead of minutes
FAST = {
    "PING_TIME_SECS": 3,
    "RUN_EXPIRATION_SECS": 15,
    "WFLOCK_EXPIRATION_SECS": 10,
    "WFLOCK_EXPIRATION_KILL": True,
    "SORT_FWS": "FIFO",
    "RAPIDFIRE_SLEEP_SECS": 1,
}


@dataclass
class Cluster:
    """Workers, and the person who looks after them."""

    folder: Path
    host: str
    port: int
    database: str
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    started: int = 0
    unborn: set[int] = field(default_factory=set)
    rerun: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = {"host": self.host, "port": self.port}
        self.launchpad_file = self._write(
            "my_launchpad.yaml", {**place, "name": self.database, "strm_lvl": "WARNING"}
        )
        place["database"] = self.database
        self.jobflow_file = self._write(
            "jobflow.yaml",
            {
                "JOB_STORE": {
                    "docs_store": {"type": "MongoStore", "collection_name": "outputs", **place},
                    "additional_stores": {
                        "data": {"type": "GridFSStore", "collection_name": "blobs", **place}
                    },
                }
            },
        )
        self.config_file = self._write("FW_config.yaml", FAST)
        self.launchpad = LaunchPad.from_file(str(self.launchpad_file))
        self.launchpad.reset("", require_password=False)

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(content))
        return path

    @property
    def environment(self) -> dict[str, str]:
        """Of workers, and of the person who looks after them."""
        return os.environ | {
            "FW_CONFIG_FILE": str(self.config_file),
            "JOBFLOW_CONFIG_FILE": str(self.jobflow_file),
            "OMP_NUM_THREADS": "1",
        }

    def lpad(self, *words: str) -> str:
        """Run ``lpad`` and return what it says; while the server is away it fails."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                [str(Path(sys.executable).parent / "lpad"), "-l", str(self.launchpad_file), *words],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
                check=False,
            ).stdout
        return ""

    def start(self, name: str) -> None:
        """Start a worker of the category that its name begins with."""
        category = name.split("-")[0]
        self.started += 1
        folder = self.folder / f"{name}-{self.started}"
        folder.mkdir()
        with (folder / "log").open("w") as log:
            self.processes[name] = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "rlaunch"),
                    *("-l", str(self.launchpad_file), "--loglvl", "INFO"),
                    *("-w", str(WORKFLOWS / f"my_fworker_{category}.yaml")),
                    *("rapidfire", "--nlaunches", "infinite", "--sleep", "1"),
                ],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        """Kill a worker at once, in whatever it does."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def busy(self, category: str) -> bool:
        """Return whether a job of a category has run for a moment."""
        launch = self.launchpad.launches.find_one(
            {"state": "RUNNING", "fworker.category": category}
        )
        return launch is not None

    def states(self) -> dict[str, int]:
        """Return how many fireworks are in each state."""
        found: dict[str, int] = {}
        for doc in self.launchpad.fireworks.find({}, {"state": 1}):
            found[doc["state"]] = found.get(doc["state"], 0) + 1
        return found

    def look_after(self) -> None:
        """Do what a person does after an accident: the commands of workflows/fireworks."""
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                assert self.started < 20, f"workers die again and again\n{self.logs()}"
                self.start(name)
        said = self.lpad("detect_lostruns", "--time", "15", "--rerun", "--refresh")
        if lost := re.search(r"lost FWs: \[([\d, ]+)\]", said):
            self.rerun.update(map(int, lost[1].split(",")))
        try:
            failed = self._failed()
            unborn = self.launchpad.get_fw_ids({"state": "RUNNING", "launches": []})
            unborn += self._forgotten()
        except PyMongoError:
            return  # the server is away; again in a moment
        # one that was there the last time as well: others are just being taken
        stuck = [str(fw_id) for fw_id in unborn if fw_id in self.unborn]
        self.unborn = set(unborn)
        if failed or stuck:
            self.rerun.update(int(fw_id) for fw_id in failed + stuck)
            self.lpad("rerun_fws", "-i", ",".join(failed + stuck))

    def _failed(self) -> list[str]:
        """Return failed fireworks of workflows in which nothing goes on any more.

        The state of a workflow alone does not tell: it is stale if the server died before it was
        written.
        """
        failed = []
        for doc in self.launchpad.workflows.find({"state": {"$ne": "COMPLETED"}}, {"nodes": 1}):
            own = {"fw_id": {"$in": doc["nodes"]}}
            active = {"$in": ["READY", "RESERVED", "RUNNING"]}
            if not self.launchpad.get_fw_ids({**own, "state": active}):
                failed += self.launchpad.get_fw_ids({**own, "state": "FIZZLED"})
        return [str(fw_id) for fw_id in failed]

    def _forgotten(self) -> list[int]:
        """Return fireworks that are done although their workflow does not know of it.

        The server died between the two writes: what the firework spawned belongs to no workflow.
        Its job is run again, and takes up the state that it left on disk.
        """
        forgotten = []
        for doc in self.launchpad.workflows.find({"state": {"$ne": "COMPLETED"}}, {"fw_states": 1}):
            open_ids = [int(i) for i, state in doc["fw_states"].items() if state != "COMPLETED"]
            forgotten += self.launchpad.get_fw_ids(
                {"fw_id": {"$in": open_ids}, "state": "COMPLETED"}
            )
        return forgotten

    def done(self) -> bool:
        """Return whether every workflow is completed; some may have gone on without a label."""
        states = {doc["state"] for doc in self.launchpad.workflows.find({}, {"state": 1})}
        return states == {"COMPLETED"}

    def wait(self, until: Any, seconds: float, look_after: bool = True) -> None:
        """Wait until a function of the states is true."""
        deadline = time.monotonic() + seconds
        last = time.monotonic()
        while True:
            try:
                states = self.states()
                if until(states):
                    return
            except PyMongoError:
                states = {}
            assert time.monotonic() < deadline, f"not done in {seconds} s: {states}\n{self.logs()}"
            time.sleep(0.3)
            if look_after and time.monotonic() - last > 10:
                self.look_after()
                last = time.monotonic()

    def logs(self) -> str:
        return "\n".join(
            f"--- {path}\n" + path.read_text()[-3000:] for path in sorted(self.folder.glob("*/log"))
        )
