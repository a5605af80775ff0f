"""Run the command and really kill this process at a given moment."""

from __future__ import annotations

import os
import signal
import sys
import threading

# imported once by the process that the tests fork from; the rest comes with these
PRELOAD = [
    "onfly.cli.run",
    "onfly.flows.finetune",
    "onfly.jobs.publish",
    "onfly.bayes.chain_task",
    "onfly.labels.ase",
    "onfly.potentials.toy",
    "ase.calculators.emt",
    "onfly.library",
]


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def nth(function, n, before):
    """Wrap a function so that its n-th call kills the process, before or after its work."""
    calls = 0

    def wrapper(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == n and before:
            die()
        result = function(*args, **kwargs)
        if calls == n:
            die()
        return result

    return wrapper


def arm(moment):
    from onfly.artifacts.workspace import RunWorkspace
    from onfly.jobs import publish
    from onfly.labels.ase import AseLabelMaker
    from onfly.labels.store import LabelStore
    from onfly.rounds.recorder import Recorder

    if moment == "md":  # in the middle of a segment, some steps behind its last checkpoint
        Recorder.record = nth(Recorder.record, 17, before=False)
    elif moment == "label":  # while the labeller runs
        AseLabelMaker.run = nth(AseLabelMaker.run, 3, before=True)
    elif moment == "label-written":  # the label is on disk, the run does not know of it yet
        LabelStore.put = nth(LabelStore.put, 3, before=False)
    elif moment == "judged":  # the ledger is on disk, the state does not count its records
        RunWorkspace.write_ledger = nth(RunWorkspace.write_ledger, 2, before=False)
    elif moment == "update":  # some chains are done
        from onfly.bayes import chain_task

        chain_task._write = nth(chain_task._write, 4, before=False)
    elif moment == "update-done":  # the new weights are on disk, the run does not know of them
        RunWorkspace.save_ensemble = nth(RunWorkspace.save_ensemble, 3, before=False)
    elif moment == "publish":
        publish.atomic_write = nth(publish.atomic_write, 1, before=True)
    elif moment == "published":  # the model is written, the run does not know of it
        publish.atomic_write = nth(publish.atomic_write, 1, before=False)
    elif moment.startswith("after "):  # seconds, whatever is being done
        threading.Timer(float(moment.removeprefix("after ")), die).start()
    elif moment != "never":
        raise SystemExit(f"unknown moment {moment}")


def run(moment, arguments, home, environment, report):
    """Be the process of a command, from its working directory to its output."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(home / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), descriptor)
    os.chdir(home)
    os.environ.clear()
    os.environ.update(environment)
    arm(moment)
    from onfly.cli import main, summary

    if not report:
        summary._report = lambda workspace: None

    sys.argv = ["onfly", *arguments]
    main()
