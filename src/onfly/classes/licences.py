"""Licences of released foundations, which hold for what is made of their weights as well."""

from __future__ import annotations

__all__ = ["licences_of"]

# beginning of the name -> licence, as the releases state it; the longest that fits counts
_KNOWN = {
    "chgnet": "BSD-3-Clause (modified, Lawrence Berkeley National Laboratory)",
    "mace-mp": "MIT",
    "mace-off": "Academic Software License (no commercial use)",
    "mace-omat": "Academic Software License (no commercial use)",
    "sevennet": "see the release of SevenNet",
    "toy": "that of onfly",
}
UNKNOWN = "not recorded: ask where the model came from"


def licences_of(source: str) -> dict[str, str]:
    """Return the licence of a foundation by its name.

    Examples
    --------
    >>> licences_of("mace-mp-medium")
    {'mace-mp-medium': 'MIT'}
    """
    fitting = [start for start in _KNOWN if source.startswith(start)]
    return {source: _KNOWN[max(fitting, key=len)] if fitting else UNKNOWN}
