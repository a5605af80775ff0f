"""The structures of a campaign, read from where its file says they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import maggma.stores
from maggma.core import Store
from monty.io import zopen
from pymatgen.core import Molecule, Structure

from onfly.schemas.foreign import refuse_foreign
from onfly.spec.files import RunFile
from onfly.spec.structures import QuerySpec, StructuresSpec
from onfly.structures import MAX_ATOMS, read_structure

__all__ = ["read_structures", "structures_of"]


def read_structures(
    spec: StructuresSpec, folder: Path, max_atoms: int | None = MAX_ATOMS
) -> list[Structure | Molecule]:
    """Return all structures of a campaign.

    Parameters
    ----------
    spec
        Where they are.
    folder
        To which paths are relative.
    max_atoms
        Largest number of atoms in a file; None allows any.

    Raises
    ------
    ValueError
        If a file cannot be read, or a pattern or the query finds nothing.
    """
    found: list[Structure | Molecule] = []
    for pattern in spec.files:
        paths = [path for path in _matching(pattern, folder) if path.is_file()]
        if not paths:
            raise ValueError(f"no file {pattern} in {folder}")
        found += [read_structure(path, spec.periodic, max_atoms=max_atoms) for path in paths]
    if spec.pymatgen is not None:
        found += _read_pymatgen(folder / spec.pymatgen)
    if spec.query is not None:
        found += _query(spec.query)
    return found


def structures_of(file: RunFile) -> tuple[Structure | Molecule, ...]:
    """Return the structure that the file of a run names; of a path both ends.

    Raises
    ------
    ValueError
        If a file cannot be read.
    """
    most = file.spec.guards.max_atoms
    return tuple(
        read_structure(path, file.periodic, max_atoms=most) for path in file.structure_files
    )


def _matching(pattern: str, folder: Path) -> list[Path]:
    path = Path(pattern).expanduser()
    if not path.is_absolute():
        return sorted(folder.glob(pattern))
    anchor = Path(path.anchor)
    return sorted(anchor.glob(str(path.relative_to(anchor))))


def _query(query: QuerySpec) -> list[Structure | Molecule]:
    given = dict(query.store)
    kind = given.pop("type")
    cls = getattr(maggma.stores, str(kind), None)
    if not (isinstance(cls, type) and issubclass(cls, Store)):
        raise ValueError(f"store type {kind!r} is no maggma store; MongoStore is one")
    try:
        store = cls(**given)
    except TypeError as error:
        raise ValueError(f"store {kind}: {error}") from error
    found: list[Structure | Molecule] = []
    store.connect()
    try:
        for doc in store.query(query.criteria, [query.field], limit=query.limit):
            value: Any = doc
            for part in query.field.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            found.append(_from_dict(value, f"field {query.field!r} of a document"))
    finally:
        store.close()
    if not found:
        raise ValueError(f"the query {query.criteria} finds no document")
    return found


def _read_pymatgen(path: Path) -> list[Structure | Molecule]:
    try:
        with zopen(path, "rt") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    entries = content if isinstance(content, list) else [content]
    return [_from_dict(entry, f"entry {i} of {path}") for i, entry in enumerate(entries)]


def _from_dict(value: Any, where: str) -> Structure | Molecule:
    # of the classes that MSON may name, only these two are built
    kind = value.get("@class") if isinstance(value, dict) else None
    if kind not in ("Structure", "Molecule"):
        raise ValueError(f"{where} is no pymatgen Structure or Molecule")
    refuse_foreign(value, where)
    try:
        return (Structure if kind == "Structure" else Molecule).from_dict(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is damaged: {type(error).__name__}: {error}") from error
