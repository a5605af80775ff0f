"""Nothing is paid twice: labels are found again by what was labelled and with which settings.

Labels live in a maggma store (of their own, or jobflow's, where they are outputs of jobs) or in a
directory of JSON files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maggma.core import Store
from monty.json import jsanitize
from pydantic import ValidationError
from pymatgen.core import Molecule, Structure

from onfly.schemas import LabelDoc, structure_hash

__all__ = ["LabelSource", "find_label", "load_label", "save_label", "seed_labels"]

logger = logging.getLogger(__name__)

LabelSource = Store | Path | str

_RUN_FIELDS = (
    "run_id",
    "index",
    "md_step",
    "predicted_energy",
    "predicted_std",
    "probability",
    "force_rmse",
    "foundation_energy",
    "foundation_force_rmse",
)


def save_label(label: LabelDoc, directory: str | Path) -> Path:
    """Write a label as JSON, whole or not at all, and force it to the disk.

    Returns
    -------
    pathlib.Path
        The file. Its name starts with the hashes by which `find_label` looks; labels of other
        runs for the same configuration stay beside it.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(jsanitize(label.model_dump(mode="json"), strict=True))
    stem = _stem(label.structure_hash, label.input_hash)
    path = directory / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def _stem(configuration: str, settings: str | None) -> str:
    return f"{configuration[:24]}-{(settings or 'unknown')[:16]}"


def load_label(path: str | Path) -> LabelDoc:
    """Read a label that `save_label` wrote."""
    return LabelDoc.model_validate_json(Path(path).read_text())


def _from_files(directory: Path, pattern: str) -> Iterator[LabelDoc]:
    for path in sorted(directory.glob(pattern)):
        try:
            yield load_label(path)
        except (ValidationError, OSError, ValueError) as error:
            logger.warning("%s is not a label: %s", path, error)


def _from_store(store: Store, criteria: dict[str, Any]) -> Iterator[LabelDoc]:
    store.connect()
    criteria = {"doc_type": "label"} | criteria
    for document in store.query(criteria):
        yield LabelDoc.model_validate(document)
    for document in store.query({f"output.{key}": value for key, value in criteria.items()}):
        yield LabelDoc.model_validate(document["output"])


def _search(source: LabelSource, criteria: dict[str, Any]) -> Iterator[LabelDoc]:
    if isinstance(source, Store):
        yield from _from_store(source, criteria)
        return
    pattern = f"*-{criteria['input_hash'][:16]}-*.json"
    if "structure_hash" in criteria:
        pattern = f"{_stem(criteria['structure_hash'], criteria['input_hash'])}-*.json"
    for label in _from_files(Path(source), pattern):
        if all(getattr(label, key) == value for key, value in criteria.items()):
            yield label


def find_label(
    structure: Structure | Molecule,
    input_hash: str,
    source: LabelSource,
    *,
    energy_key: str | None = None,
) -> LabelDoc | None:
    """Return an earlier label of exactly this configuration with these settings.

    Parameters
    ----------
    structure
        What is to be labelled: species, cell, positions and site order count.
    input_hash
        Settings of the run (of its first label, or `onfly.labels.maker.maker_hash`).
    source
        maggma store or directory.
    energy_key
        Only a label with this energy; None takes any.
    """
    criteria: dict[str, Any] = {
        "structure_hash": structure_hash(structure),
        "input_hash": input_hash,
    }
    if energy_key is not None:
        criteria["energy_key"] = energy_key
    return next(_search(source, criteria), None)


def seed_labels(
    structure: Structure | Molecule, input_hash: str, source: LabelSource, limit: int | None = None
) -> list[LabelDoc]:
    """Return labels of earlier runs of the same compound, cell size and settings.

    Parameters
    ----------
    structure
        Any configuration of the compound: composition and number of atoms count.
    input_hash
        Settings of the run.
    source
        maggma store or directory.
    limit
        Largest number; the latest ones are taken.

    Returns
    -------
    list of LabelDoc
        Oldest first, each configuration once, with reason "seed" and without the fields that
        belong to the run that made them.
    """
    unique: dict[str, LabelDoc] = {}
    for label in _search(source, {"input_hash": input_hash}):
        if label.structure.composition == structure.composition:
            unique.setdefault(label.structure_hash, label)
    found = sorted(unique.values(), key=lambda label: label.created_at)
    found = found if limit is None else found[len(found) - min(limit, len(found)) :]
    blank: dict[str, Any] = dict.fromkeys(_RUN_FIELDS)
    return [label.model_copy(update=blank | {"reason": "seed"}) for label in found]
