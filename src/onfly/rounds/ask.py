"""Labels that are due, computed in this process; or found, where somebody has paid for them."""

from __future__ import annotations

import errno
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, JobStore, Maker, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import full_disk_named, is_full_disk, require_space
from onfly.labels.careful import careful
from onfly.labels.errors import LabelError
from onfly.labels.extract import extract_label
from onfly.labels.maker import maker_hash
from onfly.labels.reasons import label_error
from onfly.rounds.judge import Answer, requested_structure
from onfly.rounds.progress import Progress
from onfly.schemas import LabelDoc, RequestDoc, RunState, structure_hash
from onfly.session import OpenRun, Session

__all__ = ["answers_here", "known_answer", "label_here", "label_job", "maker_for_attempt"]

logger = logging.getLogger(__name__)


def maker_for_attempt(maker: Maker, attempt: int) -> Maker:
    """Return the maker, or for another attempt one with a more careful SCF where one is known."""
    return maker if attempt == 0 else careful(maker) or maker


def known_answer(run: OpenRun, request: RequestDoc, maker: Maker) -> LabelDoc | None:
    """Return the label of a request if it was computed before, or None.

    A label that this run has asked for and received is never computed again. Those of other runs
    are taken if the settings are known to be the same (see `maker_hash`), and the user allows it.
    """
    answer = run.workspace.read_answer(request.key)
    store = run.session.labels
    key = None if answer is None else answer.get("label")
    if answer is not None and answer.get("attempt", request.attempt) != request.attempt:
        key = None  # of the first attempt, which was refused
    if key is None and run.spec.labels.reuse:
        known_hash = run.doc.input_hash or maker_hash(maker)
        if known_hash is not None:
            structure = requested_structure(run, request)
            key = store.find(structure_hash(structure), known_hash, run.spec.labels.energy_key)
    if key is None:
        return None
    try:
        return store.get(key)
    except LabelError as error:
        logger.warning("a label is computed again: %s", error)
        return None


def label_job(
    maker: Maker, structure: Structure | Molecule, index: int, prev_dir: str | None = None
) -> Job | Flow:
    """Return the job (or flow) that labels a structure, with a numbered name.

    The maker is copied: naming a job renames the maker that it is bound to, and names would grow
    with every label.
    """
    maker = deepcopy(maker)
    base = maker.name
    job = maker.make(structure, prev_dir=prev_dir)
    job.name = f"{base} {index}"
    return job


def label_here(
    maker: Maker,
    structure: Structure | Molecule,
    index: int,
    folder: Path,
    prev_dir: str | None = None,
) -> Any:
    """Label a structure in this process and return the task document.

    Parameters
    ----------
    maker
        Any atomate2 maker whose output holds energy, forces and stress.
    structure
        What to label.
    index
        Number of the label.
    folder
        Calculations get folders of their own in it.
    prev_dir
        Directory of the label before, for makers that start warm.

    Raises
    ------
    LabelError
        If the calculation fails, whatever the reason.
    DiskFullError
        If it fails since the disk is full.
    """
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    job = label_job(maker, structure, index, prev_dir)
    memory = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    try:
        responses = run_locally(
            job,
            store=memory,
            create_folders=True,
            root_dir=folder,
            ensure_success=True,
            raise_immediately=True,
            log=False,
        )
    # any failure of foreign code is a failed label, a program that ends the interpreter included
    except (Exception, SystemExit) as error:
        if is_full_disk(error):  # says nothing of this configuration
            with full_disk_named(folder):
                raise OSError(errno.ENOSPC, str(error)) from error
        logger.debug("label %d failed", index, exc_info=True)
        raise label_error(error, str(folder)) from error
    if isinstance(job, Flow):
        if job.output is None:
            raise LabelError(f"the flow of {maker.name!r} has no output")
        return job.output.resolve(memory)
    last = max(responses[job.uuid])
    return responses[job.uuid][last].output


def answers_here(
    session: Session, state: RunState, maker: Maker, prev_dir: str | None = None
) -> list[Answer]:
    """Label all that is due, one after the other; each answer is on disk before the next begins.

    Parameters
    ----------
    session
        Of the process.
    state
        In phase ``label``.
    maker
        The labeller.
    prev_dir
        Directory that the first label of the run may start from.
    """
    run = session.open(state.posterior)
    found = []
    due = state.due
    for position, request in enumerate(due):
        known = known_answer(run, request, maker)
        if known is not None:
            found.append(Answer(known))
            continue
        Progress(run.workspace.folder)(
            force=True,
            phase="label",
            md_step=state.md_step,
            n_steps_total=state.n_steps_total,
            reason=request.reason,
            label=position + 1,
            n_labels=len(due),
        )
        structure = requested_structure(run, request)
        folder = run.workspace.folder / "calculations"
        require_space(folder)
        last = state.posterior.last_label_dir or prev_dir
        index = state.posterior.n_labels + position
        try:
            output = label_here(
                maker_for_attempt(maker, request.attempt), structure, index, folder, last
            )
        except LabelError as error:
            found.append(Answer(error=str(error)))
            continue
        found.append(_kept(run, request, structure, output))
    return found


def _kept(
    run: OpenRun, request: RequestDoc, structure: Structure | Molecule, output: Any
) -> Answer:
    """Write a label as soon as it is there; whether it is accepted is decided with the round."""
    try:
        label = extract_label(output, requested=structure, energy_key=run.spec.labels.energy_key)
        # the label last: as soon as it is there it is found, whenever the process is killed
        run.workspace.write_answer(request.key, {"label": run.session.labels.key_of(label)})
        run.session.labels.put(label)
    except LabelError as error:
        return Answer(output, str(error))
    return Answer(label)
