"""Nothing is paid twice: labels are found again by what was labelled and with which settings.

Labels live in a maggma store (of their own, or jobflow's, where they are outputs of jobs), in a
directory of JSON files, or are given as documents. A directory is laid out by what one looks for,
so that neither search reads labels of other settings or compounds:

```
<directory>/<input hash>/<formula of the cell>/<structure hash>.json
```
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maggma.core import Store
from monty.json import jsanitize
from pydantic import ValidationError
from pymatgen.core import Molecule, Structure

from onfly.schemas import LabelDoc, structure_hash

__all__ = ["LabelSource", "find_label", "load_label", "save_label", "seed_labels"]

logger = logging.getLogger(__name__)

LabelSource = Store | Path | str | Sequence[LabelDoc]

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
# properties that change the ground state of a configuration and are not in its hash
_STATE_PROPERTIES = {"magmom", "charge", "spin"}


def save_label(label: LabelDoc, directory: str | Path) -> Path:
    """Write a label as JSON, whole or not at all, and force it to the disk.

    The first label of a configuration with the same settings stays; a damaged file is replaced.

    Returns
    -------
    pathlib.Path
        The file; its path says for what the label can be found.

    Raises
    ------
    ValueError
        If the label has no input hash: it could be taken for a label with other settings.
    """
    if label.input_hash is None:
        raise ValueError("a label without input hash cannot be found again: its settings are lost")
    folder = _folder(directory, label.structure, label.input_hash)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_name(label.structure_hash)
    partial = folder / f".{path.stem}.{os.getpid()}"
    with open(partial, "w") as file:
        file.write(json.dumps(jsanitize(label.model_dump(mode="json"), strict=True)))
        file.flush()
        os.fsync(file.fileno())
    try:
        # fails if the name is taken, also between two processes
        os.link(partial, path)
    except FileExistsError:
        if _read(path) is not None:
            return path
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
    return path


def _folder(directory: str | Path, structure: Structure | Molecule, input_hash: str) -> Path:
    amounts = structure.composition.get_el_amt_dict()
    formula = "".join(f"{symbol}{amounts[symbol]:g}" for symbol in sorted(amounts))
    return Path(directory) / input_hash[:32] / formula


def _file_name(configuration: str) -> str:
    return f"{configuration[:32]}.json"


def load_label(path: str | Path) -> LabelDoc:
    """Read a label that `save_label` wrote."""
    return LabelDoc.model_validate_json(Path(path).read_text())


def _read(path: Path) -> LabelDoc | None:
    try:
        return load_label(path)
    except (ValidationError, OSError, ValueError) as error:
        logger.warning("%s is not a label: %s", path, error)
        return None


def _from_files(
    directory: Path, structure: Structure | Molecule, criteria: dict[str, Any]
) -> Iterator[LabelDoc]:
    folder = _folder(directory, structure, criteria["input_hash"])
    if "structure_hash" in criteria:
        path = folder / _file_name(criteria["structure_hash"])
        paths = [path] if path.is_file() else []
    else:
        paths = sorted(folder.glob("[!.]*.json"))
    yield from (label for label in map(_read, paths) if label is not None)


def _from_store(store: Store, criteria: dict[str, Any]) -> Iterator[LabelDoc]:
    store.connect()
    criteria = {"doc_type": "label"} | criteria
    for document in store.query(criteria):
        yield LabelDoc.model_validate(document)
    for document in store.query({f"output.{key}": value for key, value in criteria.items()}):
        yield LabelDoc.model_validate(document["output"])


def _search(
    source: LabelSource, structure: Structure | Molecule, criteria: dict[str, Any]
) -> Iterator[LabelDoc]:
    if isinstance(source, Store):
        found = _from_store(source, criteria)
    elif isinstance(source, str | Path):
        found = _from_files(Path(source), structure, criteria)
    else:
        found = iter(source)
    for label in found:
        matches = all(getattr(label, key) == value for key, value in criteria.items())
        if matches and _is_plain(label.structure):
            yield label


def _is_plain(structure: Structure | Molecule) -> bool:
    """Whether the hash says all about a configuration: no charge, no spin of its own."""
    if isinstance(structure, Molecule) and structure.spin_multiplicity not in (1, 2):
        return False
    return not structure.charge and not _STATE_PROPERTIES & set(structure.site_properties)


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
        What is to be labelled: species, cell, positions and site order count. For charged or
        magnetic ones nothing is found, since the hash does not hold their state.
    input_hash
        Settings of the run (of its first label, or `onfly.labels.maker.maker_hash`).
    source
        maggma store, directory or documents.
    energy_key
        Only a label with this energy; None takes any.
    """
    if not _is_plain(structure):
        return None
    criteria: dict[str, Any] = {
        "structure_hash": structure_hash(structure),
        "input_hash": input_hash,
    }
    if energy_key is not None:
        criteria["energy_key"] = energy_key
    return next(_search(source, structure, criteria), None)


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
        maggma store, directory or documents.
    limit
        Largest number; the latest ones are taken.

    Returns
    -------
    list of LabelDoc
        Oldest first, each configuration once, with reason "seed" and without the fields that
        belong to the run that made them.
    """
    unique: dict[str, LabelDoc] = {}
    for label in _search(source, structure, {"input_hash": input_hash}):
        if label.structure.composition == structure.composition:
            unique.setdefault(label.structure_hash, label)
    found = sorted(unique.values(), key=lambda label: label.created_at)
    found = found if limit is None else found[len(found) - min(limit, len(found)) :]
    blank: dict[str, Any] = dict.fromkeys(_RUN_FIELDS)
    return [label.model_copy(update=blank | {"reason": "seed"}) for label in found]
