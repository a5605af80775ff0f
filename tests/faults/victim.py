"""A run in a process that is killed: forked from one that has imported all that it needs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.counted import FILE, calls, kept

# imported once by the process that all runs are forked from
PRELOAD = [
    "onfly.flows.finetune",
    "onfly.jobs.publish",
    "onfly.bayes.chain_task",
    "onfly.potentials.toy",
    "onfly.labels.ase",
    "onfly.stores",
    "tests.faults.counted",
]
FORKED = multiprocessing.get_context("forkserver")
SECONDS = 300
_TICKS = os.sysconf("SC_CLK_TCK")
LABELLER = "tests.faults.counted.CountedEMT"


@dataclass
class Victim:
    """One run in a folder, which may be killed again and again.

    Parameters
    ----------
    home
        Folder.
    mode, walkers
        Of the run.
    """

    home: Path
    mode: str
    walkers: int = 1
    kills: int = 0
    # configurations that were computed although their label was on disk when the run was killed
    paid_twice: list[str] = field(default_factory=list)
    _seen: tuple[int, set[str]] = (0, set())

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def calls_file(self) -> Path:
        return self.home / "calls"

    def start(self):
        FORKED.set_forkserver_preload(PRELOAD)
        process = FORKED.Process(target=run, args=(self.home, self.mode, self.walkers))
        process.start()
        return process

    def finish(self) -> float:
        """Let the run come to its end; return the CPU seconds that this took."""
        process = self.start()
        spent = 0.0
        deadline = time.monotonic() + SECONDS
        while process.exitcode is None and time.monotonic() < deadline:
            spent = cpu_seconds(process.pid) or spent
            process.join(0.05)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"the run hangs: {(self.home / 'log').read_text()[-3000:]}")
        assert process.exitcode == 0, (self.home / "log").read_text()[-3000:]
        self._check()
        return spent

    def kill_after(self, seconds: float, pause: float) -> bool:
        """Kill the run after so many CPU seconds and a pause; whether it was still at work.

        CPU time and not the clock, so that a busy machine does not see other moments; the pause
        falls into waits for the disk as well.
        """
        process = self.start()
        deadline = time.monotonic() + SECONDS
        while process.exitcode is None and (cpu_seconds(process.pid) or 0.0) < seconds:
            assert time.monotonic() < deadline, "the run hangs"
            time.sleep(0.002)
        time.sleep(pause)
        process.kill()
        process.join()
        killed = process.exitcode == -signal.SIGKILL
        assert killed or process.exitcode == 0, (self.home / "log").read_text()[-3000:]
        self._check()
        self._seen = (len(calls(self.calls_file)), kept(self.artifacts))
        self.kills += killed
        return killed

    def _check(self) -> None:
        before, known = self._seen
        self.paid_twice += [c for c in calls(self.calls_file)[before:] if c in known]


def cpu_seconds(pid: int | None) -> float | None:
    """Return the CPU time of a process so far, or None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS


def again_and_again(victim: Victim, draw: random.Random, kills: int, mean: float) -> None:
    """Kill a run at random moments until it has been killed so often, then let it end."""
    while victim.kills < kills:
        if not victim.kill_after(draw.uniform(0.0, 2 * mean), draw.uniform(0.0, 0.02)):
            return  # it was at its end
    victim.finish()


def spec(walkers: int):
    """Return the settings of a run of which each phase takes a part of a second."""
    from onfly.testing.models import toy_spec

    return toy_spec(
        labeller={"name": "ase", "kwargs": {"calculator": LABELLER}},
        stages=[{"n_steps": 16, "temperature": 300.0, "time_step": 2.0}],
        posterior={"kind": "sghmc", "n_members": 2, "n_steps": 6},
        audit_interval=4,
        checkpoint_interval=3,
        walkers=walkers,
        initial_labels=walkers,
        initial_steps=3,
        proof={"coverage": 0.5, "attempts": 1, "steps": 12},
    )


def run(home: Path, mode: str, walkers: int) -> None:
    """Be the process of a run: begin it, or take it up."""
    log = os.open(home / "log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in [n for n in os.environ if n.startswith("ONFLY_") or n == "JOBFLOW_CONFIG_FILE"]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "ONFLY_ARTIFACT_DIR": str(home / "artifacts"),
        "ONFLY_STORE_DIR": str(home / "store"),
        FILE: str(home / "calls"),
    }
    os.chdir(home)
    logging.basicConfig(level=logging.INFO)
    from jobflow import run_locally

    from onfly.artifacts.workspace import RunWorkspace
    from onfly.flows.finetune import OnTheFlyMaker
    from onfly.labels.ase import AseLabelMaker
    from onfly.settings import get_settings
    from onfly.stores import job_store

    maker = OnTheFlyMaker(
        spec=spec(walkers), mode=mode, label_maker=AseLabelMaker(calculator=LABELLER)
    )
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, "r")
    structure = crystal()
    if workspace.exists():
        flow = maker.resume(workspace.read_state(), structure)
    else:
        flow = maker.make(structure, run_id="r")
    run_locally(flow, store=job_store(), ensure_success=True, raise_immediately=True)


def crystal():
    from tests.campaign.conftest import metals

    return metals(1)[0]
