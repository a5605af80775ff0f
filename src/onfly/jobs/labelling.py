"""Run a label maker: as a job of a chain, or here and now."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, JobStore, Maker, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Molecule, Structure

from onfly.jobs.base import otf_job
from onfly.jobs.known_labels import known_label
from onfly.labels.ase import AseLabelMaker
from onfly.labels.careful import careful
from onfly.labels.errors import LabelError
from onfly.labels.maker import maker_hash
from onfly.schemas import RunDoc

__all__ = [
    "FirstLabelMaker",
    "first_label_job",
    "label_here",
    "label_job",
    "maker_for_attempt",
    "prioritise",
]

logger = logging.getLogger(__name__)


def maker_for_attempt(maker: Maker, attempt: int) -> Maker:
    """Return the maker, or for another attempt one with a more careful SCF where one is known."""
    return maker if attempt == 0 else careful(maker) or maker


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


@dataclass
class FirstLabelMaker(Maker):
    """Label the first structure of a chain, unless some run has paid for its label before.

    A chain is submitted before the machine is known that will label, so that its first label
    cannot be looked up earlier.

    Parameters
    ----------
    name
        Name of the job: that of a label.
    label_maker
        The labeller; its settings must be known beforehand (see `maker_hash`).
    """

    name: str = "otf first label"
    label_maker: AseLabelMaker = field(default_factory=AseLabelMaker)

    @otf_job
    def make(self, run: RunDoc, structure: Structure | Molecule) -> Any:
        """Return the label that was found again, or the task document of a new one."""
        known = known_label(run, structure, self.label_maker)
        return self.label_maker.run(structure) if known is None else known


def first_label_job(
    maker: Maker,
    run: RunDoc,
    structure: Structure | Molecule,
    prev_dir: str | None = None,
    *,
    reuse: bool = True,
) -> Job | Flow:
    """Return the job (or flow) that gives the first label of a chain.

    With ``reuse`` the label may come from another run, if the input hash of the labeller is known
    before its first label (see `maker_hash`).
    """
    if reuse and isinstance(maker, AseLabelMaker) and maker_hash(maker) is not None:
        return FirstLabelMaker(name=f"{maker.name} 0", label_maker=maker).make(run, structure)
    return label_job(maker, structure, 0, prev_dir)


def prioritise(label: Job | Flow, run: RunDoc) -> None:
    """Let the labels of runs that are closest to their end go first, from 0 to 1000."""
    share = run.md_step / run.n_steps_total if run.n_steps_total else 0.0
    priority = int(1000 * min(share, 1.0))
    # FireWorks reads the first of the two keys, jobflow-remote the second
    keys = {"manager_config->_priority": priority, "manager_config->priority": priority}
    label.update_config({"_set": keys}, dict_mod=True, dynamic=True)


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
    """
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
    except Exception as error:  # any failure of foreign code is a failed label
        logger.debug("label %d failed", index, exc_info=True)
        raise LabelError(f"{type(error).__name__}: {error}", str(folder)) from error
    if isinstance(job, Flow):
        if job.output is None:
            raise LabelError(f"the flow of {maker.name!r} has no output")
        return job.output.resolve(memory)
    last = max(responses[job.uuid])
    return responses[job.uuid][last].output
