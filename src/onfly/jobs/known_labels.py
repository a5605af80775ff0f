"""Labels that all runs share: what one of them has paid for, no other pays for again.

They are kept beside the runs, under ``<artifact dir>/labels/<energy key>``: the energy that a
label holds depends on which one its run asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.maker import maker_hash
from onfly.labels.reuse import find_label, save_label, seed_labels
from onfly.schemas import LabelDoc, RunDoc
from onfly.settings import get_settings

__all__ = ["known_label", "labels_of_runs", "share_label"]

logger = logging.getLogger(__name__)


def _folder(run: RunDoc) -> Path:
    return get_settings().ARTIFACT_DIR / "labels" / run.energy_key


def share_label(run: RunDoc, label: LabelDoc) -> None:
    """Let other runs find a label. That it cannot be written there does not stop the run."""
    if label.input_hash is None:
        return
    try:
        save_label(label, _folder(run))
    except OSError as error:
        logger.warning("label %s of run %s is not shared: %s", label.index, run.run_id, error)


def known_label(run: RunDoc, structure: Structure | Molecule, maker: Maker) -> LabelDoc | None:
    """Return the label of a configuration that some run has paid for, or None.

    Parameters
    ----------
    run
        Whose settings count: those of its first label, or before it those of the maker, as far as
        they are known beforehand (see `maker_hash`).
    structure
        What is to be labelled.
    maker
        The labeller.
    """
    input_hash = run.input_hash or maker_hash(maker)
    if input_hash is None:
        return None
    label = find_label(structure, input_hash, _folder(run))
    if label is not None:
        logger.info("label of run %s used again (%s)", label.run_id, label.dir_name)
    return label


def labels_of_runs(
    run_ids: Sequence[str], structure: Structure | Molecule, first: LabelDoc
) -> list[LabelDoc]:
    """Return the labels of earlier runs that lie on the energy surface of a new run.

    Parameters
    ----------
    run_ids
        Runs in the artifact directory.
    structure
        Of the new run: composition and number of atoms count.
    first
        First label of the new run: settings and kind of energy count, and its configuration is
        left out.

    Returns
    -------
    list of LabelDoc
        Oldest first, with reason "seed"; see `seed_labels`.

    Raises
    ------
    ValueError
        If there is no such run, or none of its labels fits.
    """
    root = get_settings().ARTIFACT_DIR
    candidates: list[LabelDoc] = []
    for run_id in run_ids:
        labels = RunWorkspace(root, run_id).labels()
        if not labels:
            raise ValueError(f"seed_from: there is no run {run_id!r} with labels in {root}")
        same = [label for label in labels if label.energy_key == first.energy_key]
        # without a hash the settings are unknown, and labels of two surfaces must not be mixed
        if not first.input_hash or not seed_labels(structure, first.input_hash, same):
            raise ValueError(
                f"seed_from: no label of run {run_id!r} has the composition "
                f"({structure.composition.formula}) and the labeller settings of this run"
            )
        candidates += same
    seeds = seed_labels(structure, first.input_hash or "", candidates)
    return [label for label in seeds if label.structure_hash != first.structure_hash]
