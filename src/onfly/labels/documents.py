"""Reading task documents that come as pydantic objects or, from a store, as dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal

from pymatgen.core import Molecule, Structure

from onfly.labels.errors import LabelError
from onfly.schemas.foreign import ForeignObjectError, refuse_foreign

__all__ = ["Code", "code_of", "decode_structure", "pick", "plain"]

Code = Literal["vasp", "ase", "forcefield", "cp2k", "abinit", "aims"]

# The first match counts: force-field documents are ASE documents as well.
_MODULES: tuple[tuple[str, Code], ...] = (
    ("atomate2.forcefields", "forcefield"),
    ("atomate2.ase", "ase"),
    ("atomate2.cp2k", "cp2k"),
    ("atomate2.abinit", "abinit"),
    ("atomate2.aims", "aims"),
    ("emmet.core", "vasp"),
)
_KEYS: tuple[tuple[str, Code], ...] = (
    ("forcefield_name", "forcefield"),
    ("ase_calculator_name", "ase"),
    ("cp2k_objects", "cp2k"),
    ("abinit_objects", "abinit"),
    ("aims_objects", "aims"),
    ("vasp_objects", "vasp"),
    ("vasp_version", "vasp"),
)
_STRUCTURE_BASES = ("StructureMetadata", "EmmetMeta", "BaseModel")


def pick(document: Any, *path: str | int, default: Any = None) -> Any:
    """Follow a path of names and indices through objects, mappings and lists.

    Returns
    -------
    Any
        The value, or ``default`` where a part of the path is missing or None.
    """
    value = document
    for key in path:
        if value is None:
            return default
        if isinstance(key, int):
            try:
                value = value[key]
            except (IndexError, KeyError, TypeError):
                return default
        elif isinstance(value, Mapping):
            value = value.get(key)
        else:
            value = getattr(value, key, None)
    return default if value is None else value


def plain(value: Any) -> Any:
    """Return the value of an enumeration member (task states), anything else unchanged."""
    return value.value if isinstance(value, Enum) else value


def decode_structure(value: Any) -> Structure | Molecule | None:
    """Return a pymatgen structure or molecule from an object, a dictionary or None."""
    if isinstance(value, Mapping):
        try:
            refuse_foreign(value)
        except ForeignObjectError as error:
            raise LabelError(str(error)) from None
        cls = Molecule if value.get("@class") == "Molecule" else Structure
        return cls.from_dict(dict(value))
    return value


def code_of(document: Any) -> Code:
    """Tell which code's task document this is.

    Raises
    ------
    LabelError
        If the document is of no known kind.
    """
    if isinstance(document, Mapping):
        modules = [str(document.get("@module", ""))]
    else:
        modules = [
            c.__module__ for c in type(document).__mro__ if c.__name__ not in _STRUCTURE_BASES
        ]
    for prefix, code in _MODULES:
        if any(module.startswith(prefix) for module in modules):
            return code
    for key, code in _KEYS:
        if isinstance(document, Mapping) and key in document:
            return code
    raise LabelError(
        f"cannot read a label from a {type(document).__name__}",
        remedy=(
            "use an atomate2 maker whose output is a VASP, ASE, force-field, CP2K, Abinit or "
            "FHI-aims task document, or wrap an ASE calculator in onfly.labels.ase.AseLabelMaker"
        ),
    )
