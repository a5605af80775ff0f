"""Labels as extended xyz, the common format of training sets, and models as folders.

The labels of many compounds in one file are the input for fine-tuning a model of a whole class.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from maggma.core import Store

from onfly.artifacts import ArtifactStore
from onfly.artifacts.atomic import atomic_write, ensure_folder
from onfly.artifacts.blobs import ensemble_files
from onfly.schemas import FineTunedModelDoc, LabelDoc, to_atoms

__all__ = ["export_labels", "export_model", "label_atoms", "read_labels"]

logger = logging.getLogger(__name__)

_STORE_FIELDS = {"_id", "label_id", "campaign", "last_updated"}


def label_atoms(label: LabelDoc) -> Atoms:
    """Return a label as Atoms with its energy (eV), forces (eV/Å) and stress (eV/Å³).

    Parameters
    ----------
    label
        Any.

    Returns
    -------
    Atoms
        With a `SinglePointCalculator`; sites in the order of the label.

    Examples
    --------
    >>> from onfly.testing.models import toy_label
    >>> label_atoms(toy_label()).get_forces().shape
    (4, 3)
    """
    atoms = to_atoms(label.structure)
    results = {"energy": label.energy, "forces": np.array(label.forces)}
    if label.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(np.array(label.stress))
    atoms.calc = SinglePointCalculator(atoms, **results)
    for name in ("run_id", "index", "reason", "md_step", "labeller", "input_hash"):
        value = getattr(label, name)
        if value is not None:
            atoms.info["label_index" if name == "index" else name] = value
    return atoms


def export_labels(labels: Iterable[LabelDoc], path: str | Path) -> int:
    """Write labels, of one run or of many compounds, to one extended xyz file.

    Parameters
    ----------
    labels
        Such as those of `read_labels`.
    path
        The file; energies in eV, forces in eV/Å, stresses in eV/Å³ (tension positive).

    Returns
    -------
    int
        Number of labels written.

    Raises
    ------
    ValueError
        If there are none, or if they were made with different settings of one labeller: energies
        of different settings have different zeros.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> labels = read_labels(ModelLibrary.from_settings().labels_store)
    >>> export_labels(labels, "labels.extxyz")
    3
    """
    chosen = list(labels)
    if not chosen:
        raise ValueError("there are no labels to export")
    hashes: dict[str, set[str]] = {}
    for label in chosen:
        hashes.setdefault(label.labeller, set()).add(label.input_hash or "unknown")
    if len(hashes) > 1:
        raise ValueError(
            f"the labels come from different labellers ({', '.join(sorted(hashes))}): their "
            "energies cannot be in one data set; choose one"
        )
    mixed = {name for name, found in hashes.items() if len(found) > 1}
    if mixed:
        logger.warning(
            "labels of %s were made with %d different inputs (k-points differ between cells, "
            "for instance); check that their energies are comparable",
            ", ".join(sorted(mixed)),
            max(len(found) for found in hashes.values()),
        )
    target = Path(path)
    ensure_folder(target.absolute().parent)
    temporary = target.with_name(f".{target.name}.tmp")
    ase.io.write(temporary, [label_atoms(label) for label in chosen], format="extxyz")
    os.replace(temporary, target)
    return len(chosen)


def read_labels(store: Store, criteria: dict | None = None) -> list[LabelDoc]:
    """Read labels from the library's collection, ordered by run and index.

    Parameters
    ----------
    store
        The library's collection of labels.
    criteria
        A query in the manner of MongoDB; None takes all.

    Returns
    -------
    list of LabelDoc
        In eV, eV/Å and eV/Å³.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> labels = read_labels(ModelLibrary.from_settings().labels_store, {"run_id": "v0-1"})
    >>> [label.reason for label in labels][:2]
    ['initial', 'audit']
    """
    found = store.query(criteria or {}, sort={"run_id": 1, "index": 1})
    return [
        LabelDoc.model_validate({k: v for k, v in doc.items() if k not in _STORE_FIELDS})
        for doc in found
    ]


def export_model(doc: FineTunedModelDoc, store: ArtifactStore, folder: str | Path) -> Path:
    """Write a model as a folder that ``load_calculator(path=folder)`` reads on any machine.

    Parameters
    ----------
    doc
        The model.
    store
        Where its weights are.
    folder
        Where the files are written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArtifactError
        If a file of its weights is missing or was changed.

    Examples
    --------
    >>> from onfly import ModelLibrary, load_calculator
    >>> library = ModelLibrary.from_settings()
    >>> folder = export_model(library.latest("CuAu"), library.artifact_store, "exported")
    >>> load_calculator(path=folder).model_name
    'CuAu-f716e6da3f4e'
    """
    target = Path(folder).absolute()
    for ref in ensemble_files(*doc.ensembles):
        atomic_write(ArtifactStore(target).path(ref), store.load_bytes(ref))
    bare = doc.model_copy(update={"weights": None})
    atomic_write(target / "model.json", bare.model_dump_json(indent=1).encode())
    return target
