"""What other packages add: the names of their entry points, and what these lead to.

Posteriors, drivers, criteria and families of potentials are added in the same way: a package
declares an entry point of a group of ours, whose value is ``module:attribute``.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

__all__ = ["attribute", "paths_of"]


def paths_of(group: str) -> dict[str, str]:
    """Return the entry points of a group as ``name -> module:attribute``."""
    return dict(_found(group, _places()))


def attribute(path: str, what: str | None = None) -> Any:
    """Import what a path leads to.

    Parameters
    ----------
    path
        ``module:attribute``, or ``module`` for the module itself.
    what
        What it is, for the message; None lets errors of the import pass as they are.

    Raises
    ------
    ValueError
        If it cannot be imported, and `what` is given.
    """
    module, _, name = path.partition(":")
    try:
        found = import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError) as error:
        if what is None:
            raise
        raise ValueError(f"the {what} = {path} cannot be imported: {error}") from error


def _places() -> tuple[tuple[str, int], ...]:
    """Return the folders where packages are looked for, and when each was changed."""
    found = []
    for place in sys.path:
        try:
            found.append((place, os.stat(place or os.curdir).st_mtime_ns))
        except OSError:
            continue
    return tuple(found)


# the search reads a file of every installed package, 0.1 s, and a check asks several times
@lru_cache(maxsize=8)
def _found(group: str, places: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((point.name, point.value) for point in entry_points(group=group))
