"""Objects that a document names: those that it may, and those for which nothing is imported.

pymatgen decodes what stands in the properties of a site with monty, which imports any module that
is named there. A document may come from another's hand, so it is looked through before.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ForeignObjectError", "foreign_objects", "refuse_foreign"]

# structures, elements and compositions, moments, and arrays, which monty makes without an import
_OURS = ("pymatgen.core.", "pymatgen.electronic_structure.core")
_ARRAYS = "numpy"


class ForeignObjectError(ValueError):
    """A document names an object that no document of ours does."""


def foreign_objects(value: Any) -> set[str]:
    """Return the modules that a document names and that no document of ours does."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
            module = item.get("@module")
            if module is not None and module != _ARRAYS and not str(module).startswith(_OURS):
                found.add(str(module))
    return found


def refuse_foreign(value: Any, what: str = "a structure") -> None:
    """Look a document through before it is decoded.

    Raises
    ------
    ForeignObjectError
        If it names objects that decoding would import.
    """
    if foreign := sorted(foreign_objects(value)):
        raise ForeignObjectError(
            f"{what} names objects of {', '.join(foreign)}, which no document of ours does: it is "
            "refused, since decoding it would import them"
        )
