from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from targets import PairPotential, die, pair_target

from onfly.bayes import ChainPool, SGHMCPosterior

SCRIPT = """
import multiprocessing, sys, threading, time
sys.path.insert(0, {tests!r})
from functools import partial
from targets import PairPotential, pair_target
from onfly.bayes import ChainPool, SGHMCPosterior

def tell():
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.05)
    time.sleep(2.0)
    print(*[p.pid for p in multiprocessing.active_children()], flush=True)

if __name__ == "__main__":
    posterior = SGHMCPosterior(n_members=2, n_steps=10_000_000)
    threading.Thread(target=tell, daemon=True).start()
    with ChainPool(2) as pool:
        posterior.update(
            posterior.initial(PairPotential(), ("kill",)), partial(pair_target, 2),
            seed_key=("kill",), generation=1, pool=pool,
        )
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_end_when_the_parent_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert all(is_running(pid) for pid in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = [pid for pid in workers if is_running(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert alive == []


def test_a_worker_that_dies_is_a_clear_error():
    posterior = SGHMCPosterior(n_members=2, n_steps=5)
    state = posterior.initial(PairPotential(), ("die",))
    with ChainPool(1) as pool:
        with pytest.raises(RuntimeError, match="worker process died"):
            posterior.update(state, die, seed_key=("die",), generation=1, pool=pool)
        # the pool starts new workers for the next update
        posterior.update(state, partial(pair_target, 1), seed_key=("x",), generation=1, pool=pool)


def test_a_pool_has_workers():
    with pytest.raises(ValueError, match="at least one worker"):
        ChainPool(0)
