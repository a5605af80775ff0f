"""The label of a job on disk before the job ends, so that a job that is run again pays nothing.

Between the end of a calculation and the round that judges it lie the output's way into a database,
the workflow manager, and the queue. A worker or a server that dies there would take a paid label
with it. So the job itself writes the label into the store of labels, and its name into the answers
of the run, where `onfly.rounds.ask.known_answer` finds it.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from jobflow import Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import require_space
from onfly.artifacts.lock import RunLock
from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.store import LabelStore
from onfly.labels.validate import MAX_NET_FORCE, validate_label
from onfly.settings import get_settings

__all__ = ["LabelRequest", "answer_lock", "keep_answer", "kept_answer"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelRequest:
    """For whom a job computes a label, and what the label must be like.

    Parameters
    ----------
    run_id, key
        Run, and name of the request within it.
    attempt
        0, or 1 for the more careful second attempt, for which the label of the first is no answer.
    energy_key, max_force, max_net_force, input_hash
        As for `onfly.labels.extract_label` and `onfly.labels.validate_label`.
    """

    run_id: str
    key: str
    attempt: int = 0
    energy_key: str = "e_fr_energy"
    max_force: float = 50.0
    max_net_force: float | None = MAX_NET_FORCE
    input_hash: str | None = None


def answer_lock(run_id: str, key: str) -> AbstractContextManager[Any]:
    """Return a context manager that holds a request against other workers.

    A manager may take a worker for dead that is at work: FireWorks does, if the database was away
    for a moment. The second worker is then refused, and finds the label when it comes back.

    Parameters
    ----------
    run_id, key
        Of the request. On a machine that does not see the run's folder nothing is held.

    Raises
    ------
    DiskFullError
        If the label could not be written.
    """
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
    if not workspace.folder.is_dir():
        return nullcontext()
    require_space(workspace.folder)
    return RunLock(workspace.folder / "locks" / key, f"label {key} of run {run_id}")


def kept_answer(request: LabelRequest) -> str | None:
    """Return the key of the sound label that an earlier try of this job wrote, or None."""
    settings = get_settings()
    answer = RunWorkspace(settings.ARTIFACT_DIR, request.run_id).read_answer(request.key)
    if answer is None or answer.get("attempt", request.attempt) != request.attempt:
        return None
    key = answer.get("label")
    store = LabelStore(settings.ARTIFACT_DIR / "labels")
    return key if isinstance(key, str) and key in store else None


def keep_answer(request: LabelRequest, structure: Structure | Molecule, output: Any) -> str | None:
    """Write the label that a job computed, and return its key; None if it is left to the round.

    What the round would refuse is not written, so that it can ask for it again. A machine that
    does not see the run's folder writes nothing, and neither does a disk that is full: the label
    then goes the way of the output alone.

    Parameters
    ----------
    request
        For whom.
    structure
        What was labelled.
    output
        The task document, or a response with it.
    """
    if isinstance(output, Response):
        if output.replace is not None or output.detour is not None:
            return None
        output = output.output
    settings = get_settings()
    workspace = RunWorkspace(settings.ARTIFACT_DIR, request.run_id)
    if not workspace.folder.is_dir():
        return None
    try:
        label = extract_label(output, requested=structure, energy_key=request.energy_key)
        validate_label(
            label,
            requested=structure,
            max_force=request.max_force,
            max_net_force=request.max_net_force,
            input_hash=request.input_hash,
        )
        # the label last: as soon as it is there it is found, whenever the process is killed
        store = LabelStore(settings.ARTIFACT_DIR / "labels")
        answer = {"label": store.key_of(label), "attempt": request.attempt}
        workspace.write_answer(request.key, answer)
        key = store.put(label)
    except LabelError as error:
        logger.info("left to the round: %s", error)
        return None
    except OSError as error:
        logger.warning("the label of %s cannot be written here: %s", request.key, error)
        return None
    return key
