"""Labels of earlier runs that a new run learns from the start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.artifacts.files import ArtifactError
from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.validate import validate_label
from onfly.proof import Ledger, LedgerEntry
from onfly.schemas import LabelDoc, to_atoms
from onfly.session import OpenRun, Session

__all__ = ["check_seeds", "labels_of_runs", "seeded"]


def labels_of_runs(
    session: Session, run_ids: Sequence[str], first: LabelDoc
) -> list[tuple[str, LabelDoc]]:
    """Return the labels of earlier runs that lie on the energy surface of a new run.

    Parameters
    ----------
    session
        Of the process.
    run_ids
        Runs in the artifact directory.
    first
        First label of the new run: composition, settings and kind of energy count, and its
        configuration is left out.

    Returns
    -------
    list of (str, LabelDoc)
        Key and label, in the order of the runs and of their ledgers, each configuration once.

    Raises
    ------
    ValueError
        If there is no such run, or none of its labels fits.
    """
    found: dict[str, tuple[str, LabelDoc]] = {}
    for run_id in run_ids:
        # without a hash the settings are unknown, and two surfaces must not be mixed
        for key, label in _fitting(session, run_id, first.structure, first.input_hash or ""):
            if label.energy_key == first.energy_key and label.structure_hash not in found:
                found[label.structure_hash] = (key, label)
    found.pop(first.structure_hash, None)
    return list(found.values())


def seeded(session: Session, run: OpenRun, ledger: Ledger, first: LabelDoc) -> Ledger:
    """Return the ledger with the labels of earlier runs, for which nothing was predicted.

    Parameters
    ----------
    session
        Of the process.
    run
        The new one, whose energy scale is known.
    ledger
        Of the new run.
    first
        Its first label.
    """
    for key, label in labels_of_runs(session, run.spec.labels.seed_from, first):
        validate_label(label, max_force=run.spec.labels.max_force)
        energy, forces = run.foundation_prediction(to_atoms(label.structure))
        wrong = forces - np.array(label.forces)
        entry = LedgerEntry(
            index=ledger.n_labels,
            trajectory=0,
            step=0,
            reason="seed",
            label=key,
            foundation_error=energy - run.offset - label.energy,
            foundation_force_rmse=float(np.sqrt(np.mean(wrong**2))),
        )
        ledger = ledger.append(entry)
    return ledger


def check_seeds(
    session: Session,
    run_ids: Sequence[str],
    structure: Structure | Molecule,
    input_hash: str | None = None,
) -> None:
    """Refuse earlier runs that are not there, or of which no label fits, before any is paid.

    Parameters
    ----------
    session
        Of the process.
    run_ids
        Runs in the artifact directory.
    structure
        That the new run starts from.
    input_hash
        Of the labels to come; None where only the first of them will tell.

    Raises
    ------
    ValueError
        As from `labels_of_runs`.
    """
    for run_id in run_ids:
        _fitting(session, run_id, structure, input_hash)


def _ledger(workspace: RunWorkspace) -> Ledger:
    """Return the ledger of a run; where its state is damaged, all of it."""
    try:
        n_records = workspace.read_state().posterior.n_records
    except ArtifactError:
        # that is when people are told to take the labels over; each label has a checksum
        n_records = len(workspace.ledger_path.read_bytes().splitlines())
    return workspace.read_ledger(n_records)


def _fitting(
    session: Session, run_id: str, structure: Structure | Molecule, input_hash: str | None
) -> list[tuple[str, LabelDoc]]:
    """Return key and label of a run's labels with the same atoms and settings, one at least."""
    species = [str(site.specie) for site in structure]
    workspace = session.workspace(run_id)
    if not workspace.exists():
        raise ValueError(f"seed_from: there is no run {run_id!r} in {workspace.folder.parent}")
    fitting = []
    for entry in _ledger(workspace).entries:
        if entry.label is None:
            continue
        label = session.labels.get(entry.label)
        same = [str(site.specie) for site in label.structure] == species
        if same and input_hash in (None, label.input_hash):
            fitting.append((entry.label, label))
    if not fitting:
        raise ValueError(
            f"seed_from: no label of run {run_id!r} has the atoms "
            f"({structure.composition.formula}) and the labeller settings of this run"
        )
    return fitting
