"""A campaign on a LaunchPad with workers that are forked, and a server that may die."""

from __future__ import annotations

import datetime
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fireworks import LaunchPad
from fireworks.core.launchpad import WFLock
from jobflow import JobStore
from pymongo.errors import PyMongoError

from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.launchpad import add_flows
from onfly.flows.manifest import CampaignManifest
from onfly.flows.mending import Mending, mend
from onfly.labels.ase import AseLabelMaker
from onfly.testing.mongo import MongoAddress, WireServer
from tests.campaign.conftest import metals
from tests.faults.counted import FILE, calls, kept
from tests.faults.victim import FORKED, LABELLER, PRELOAD, spec

# as workflows/fireworks/FW_config.yaml, in seconds instead of minutes
PING, EXPIRATION, PAUSE = 2, 8.0, 1.5
# of a workflow: after this time others take it
LOCK_SECONDS = 6


@dataclass
class Fleet:
    """Server, LaunchPad, workers, and what the labeller was asked.

    Parameters
    ----------
    home
        Folder.
    n_compounds
        Of the campaign.
    before
        Puts something before the port of the server, and returns its port.
    pause
        Of `mend`.
    """

    home: Path
    n_compounds: int = 1
    before: Callable[[int], int] | None = None
    pause: float = PAUSE
    workers: dict[str, Any] = field(default_factory=dict)
    mended: list[Mending] = field(default_factory=list)
    unanswered: int = 0
    server_kills: int = 0
    worker_kills: int = 0

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.server = WireServer(self.home / "server").start()
        assert self.server.proxy is not None
        self.port = self.server.proxy.port
        if self.before is not None:
            self.port = self.before(self.port)
        self.launchpad = open_launchpad(self.port)
        self.launchpad.reset("", require_password=False)

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def calls_file(self) -> Path:
        return self.home / "calls"

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def environment(self) -> dict[str, str]:
        """Return the settings of workers, and of whoever looks after them."""
        return {
            "HOME": str(self.home),
            "ONFLY_ARTIFACT_DIR": str(self.artifacts),
            "ONFLY_STORE_DIR": str(self.home / "store"),
            FILE: str(self.calls_file),
        }

    def submit(self) -> list[str]:
        """Submit the campaign; return the identifiers of its runs."""
        store = open_store(self.port)
        maker = OnTheFlyMaker(
            spec=spec(1), label_maker=AseLabelMaker(calculator=LABELLER), campaign="c"
        )
        runs = {f"r{i}": s for i, s in enumerate(metals(self.n_compounds))}
        flows = [(run_id, maker.make(s, run_id=run_id)) for run_id, s in runs.items()]
        assert list(add_flows(self.launchpad, flows, "c", store)) == list(runs)
        names = {k: s.composition.reduced_formula for k, s in runs.items()}
        CampaignManifest(campaign="c", target="fireworks", compounds=names).write(self.artifacts)
        return list(runs)

    def start(self, name: str) -> None:
        """Start a worker; the clock of one named ``w… -600`` is ten minutes behind."""
        FORKED.set_forkserver_preload([*PRELOAD, "onfly.jobs.rounds", "fireworks"])
        folder = self.home / f"{name.split()[0]}-{time.monotonic_ns()}"
        folder.mkdir()
        shift = float(name.split()[1]) if " " in name else 0.0
        arguments = (folder, self.port, self.environment(), shift)
        self.workers[name] = FORKED.Process(target=work, args=arguments)
        self.workers[name].start()

    def kill_worker(self, name: str) -> None:
        """Kill a worker in whatever it does."""
        if self.workers[name].is_alive():
            self.workers[name].kill()
            self.workers[name].join()
            self.worker_kills += 1

    def kill_server(self, seconds: float) -> None:
        """Kill the server, and start it again on its data."""
        self.server.kill()
        self.server_kills += 1
        time.sleep(seconds)
        self.server.start()

    def tend(self) -> None:
        """Do what a person does: start workers that died, and call `onfly campaign mend`."""
        for name, process in list(self.workers.items()):
            if not process.is_alive():
                self.start(name)
        try:
            found = mend(
                self.launchpad, "c", self.artifacts, expiration=EXPIRATION, pause=self.pause
            )
        except PyMongoError:
            self.unanswered += 1
            return
        self.mended += found
        left = [str(item) for item in found if item.left and "is locked by" not in item.found]
        assert not left, left

    def done(self) -> bool:
        """Return whether every workflow is completed."""
        try:
            states = {d["state"] for d in self.launchpad.workflows.find({}, {"state": 1})}
        except PyMongoError:
            return False
        return states == {"COMPLETED"}

    def wait(self, seconds: float) -> None:
        """Tend the campaign until it is at its end."""
        deadline = time.monotonic() + seconds
        while not self.done():
            assert time.monotonic() < deadline, f"not done: {self.told()}"
            time.sleep(1.0)
            self.tend()

    def told(self) -> str:
        """Return what is known about a campaign that does not end."""
        docs = self.launchpad.fireworks.find({}, {"name": 1, "state": 1, "fw_id": 1})
        states = [(d["fw_id"], d["name"], d["state"]) for d in docs]
        logs = [p.read_text()[-1500:] for p in sorted(self.home.glob("w*/log"))[-3:]]
        return "\n".join([*map(str, states), *map(str, self.mended[-20:]), *logs])

    def harass(self, draw: random.Random, kills: int, of: str, longest: float) -> None:
        """Kill server or workers at random moments while the campaign is at work."""
        while self.server_kills + self.worker_kills < kills and not self.done():
            time.sleep(draw.uniform(0.0, longest))
            if of == "server":
                self.kill_server(draw.uniform(0.0, 1.0))
            else:
                self.kill_worker(draw.choice(sorted(self.workers)))
            self.tend()

    def stop(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.join()
        self.server.stop()

    def paid(self) -> tuple[list[str], set[str]]:
        """Return all calculations in order, and the configurations whose label is kept."""
        return calls(self.calls_file), kept(self.artifacts)


def open_launchpad(port: int, **options: Any) -> LaunchPad:
    """Return a LaunchPad whose dead locks are broken soon."""
    WFLock.__init__.__defaults__ = (LOCK_SECONDS, True)
    name = {"host": "127.0.0.1", "port": port, "name": "faults", "strm_lvl": "CRITICAL"}
    quick = {"serverSelectionTimeoutMS": 4000, "directConnection": True}
    return LaunchPad(**name, mongoclient_kwargs=quick | options)


def open_store(port: int) -> JobStore:
    address = MongoAddress(f"mongodb://127.0.0.1:{port}/?directConnection=true", "faults_jobs")
    return JobStore.from_dict_spec(address.job_store_spec())


def shift_clock(seconds: float, patch: Callable[[Any, str, Any], Any] = setattr) -> None:
    """Let FireWorks see another time: without root, the clock of the system cannot be set."""
    from fireworks.core import firework, launchpad, rocket

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    fake = SimpleNamespace(
        datetime=Shifted, timedelta=datetime.timedelta, timezone=datetime.timezone
    )
    for module in (firework, launchpad, rocket):
        patch(module, "datetime", fake)


def work(folder: Path, port: int, environment: dict[str, str], shift: float) -> None:
    """Be a worker of all categories."""
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in [n for n in os.environ if n.startswith("ONFLY_") or n == "JOBFLOW_CONFIG_FILE"]:
        del os.environ[name]
    os.environ |= environment
    os.chdir(folder)
    from fireworks import FWorker
    from fireworks.core import rocket
    from fireworks.core.rocket_launcher import rapidfire

    rocket.PING_TIME_SECS = PING
    if shift:
        shift_clock(shift)
    rapidfire(
        open_launchpad(port),
        FWorker(),
        nlaunches="infinite",
        sleep_time=0.5,
        strm_lvl="CRITICAL",
    )
