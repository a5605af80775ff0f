"""What custodian changed during a calculation, and whether it moved the energy surface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onfly.labels.documents import pick
from onfly.labels.run_only import RUN_ONLY_INCAR_TAGS

__all__ = ["corrections_of", "surface_changes"]


def _entries(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def corrections_of(document: Any) -> list[dict[str, Any]]:
    """Return custodian's corrections as ``{"handler", "errors", "actions"}``, oldest first."""
    found = []
    for run in _entries(pick(document, "custodian")):
        for correction in _entries(pick(run, "corrections")):
            handler = pick(correction, "handler", default="")
            if isinstance(handler, Mapping):
                handler = handler.get("@class", "")
            elif not isinstance(handler, str):
                handler = type(handler).__name__
            found.append(
                {
                    "handler": handler,
                    "errors": [str(e) for e in _entries(pick(correction, "errors"))],
                    "actions": _entries(pick(correction, "actions")),
                }
            )
    return found


def surface_changes(corrections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the INCAR tags (and ``"KPOINTS"``) by which corrections moved the energy surface.

    EDIFF counts only when it is loosened beyond 1e-4 eV: a tighter one is the same surface.

    Returns
    -------
    dict
        Tag to new value; empty if every correction left the surface alone.
    """
    changes: dict[str, Any] = {}
    for correction in corrections:
        for action in correction.get("actions") or ():
            if not isinstance(action, Mapping):
                continue
            target = str(action.get("dict", "")).upper()
            # custodian writes {"dict": "INCAR", "action": {"_set": {...}, "_unset": {...}}}
            for operation in (action.get("action") or {}).values():
                if not isinstance(operation, Mapping):
                    continue
                for tag, value in operation.items():
                    name = str(tag).split("->")[-1].upper()
                    if target == "INCAR" and name not in RUN_ONLY_INCAR_TAGS:
                        if name == "EDIFF" and float(value) <= 1e-4:
                            continue
                        changes[name] = value
                    elif target in ("KPOINTS", "POTCAR", "POSCAR"):
                        changes[target] = value
    return changes
