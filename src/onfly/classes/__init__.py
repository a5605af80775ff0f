"""Class models: the labels of many compounds learned together, as a foundation for the next one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onfly.classes.document import ClassModelDoc
    from onfly.classes.library import ClassLibrary
    from onfly.classes.names import ClassModelError, ClassName
    from onfly.classes.update import update_class

__all__ = ["ClassLibrary", "ClassModelDoc", "ClassModelError", "ClassName", "update_class"]

# imported when they are asked for: a name can be checked without torch
_MODULES = {
    "ClassLibrary": "library",
    "ClassModelDoc": "document",
    "ClassModelError": "names",
    "ClassName": "names",
    "update_class": "update",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
