"""Labels of earlier runs that a new run learns from the start."""

from __future__ import annotations

from collections.abc import Sequence

from onfly.schemas import LabelDoc
from onfly.session import Session

__all__ = ["labels_of_runs"]


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
    species = [str(site.specie) for site in first.structure]
    for run_id in run_ids:
        workspace = session.workspace(run_id)
        if not workspace.exists():
            raise ValueError(f"seed_from: there is no run {run_id!r} in {workspace.folder.parent}")
        run = session.open(workspace.read_state().posterior)
        fitting = 0
        for entry in run.ledger().entries:
            if entry.label is None:
                continue
            label = session.labels.get(entry.label)
            same = [str(site.specie) for site in label.structure] == species
            # without a hash the settings are unknown, and two surfaces must not be mixed
            if not (first.input_hash and label.input_hash == first.input_hash and same):
                continue
            fitting += 1
            if label.energy_key == first.energy_key and label.structure_hash not in found:
                found[label.structure_hash] = (entry.label, label)
        if not fitting:
            raise ValueError(
                f"seed_from: no label of run {run_id!r} has the atoms "
                f"({first.structure.composition.formula}) and the labeller settings of this run"
            )
    found.pop(first.structure_hash, None)
    return list(found.values())
