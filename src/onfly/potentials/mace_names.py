"""Names of the models that mace downloads, and their elements, without importing mace or torch."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ase.data import chemical_symbols

__all__ = ["PREFIXES", "mace_elements", "mace_names"]

# onfly's prefix -> mace's functions; longest prefix first.
PREFIXES = ("mace-mpa-", "mace-mp-", "mace-off-")
# Of mace 0.3.16, where the installed version cannot be asked.
_MP = (
    *("small", "medium", "large", "small-0b", "medium-0b", "small-0b2", "medium-0b2", "large-0b2"),
    *("medium-0b3", "medium-mpa-0", "small-omat-0", "medium-omat-0"),
)
_OFF = ("small", "medium", "large")
_ALIASES = ("mace-mpa-0-medium", "mace-mpa-medium")
# Materials Project and OMat: 89 elements. MACE-OFF23: those of SPICE.
_SOLIDS = (*chemical_symbols[1:84], *chemical_symbols[89:95])
_ORGANIC = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


@cache
def mace_names() -> tuple[str, ...]:
    """Return the names that `load_foundation` hands on to the installed mace."""
    found = _tables()
    solids = tuple(f"mace-mp-{name}" for name in found.get("mace_mp_urls", _MP))
    organic = tuple(f"mace-off-{name}" for name in found.get("mace_off_urls", _OFF))
    return (*solids, *_ALIASES, *organic)


def mace_elements(name: str) -> tuple[str, ...] | None:
    """Return the chemical symbols that a released model knows, where that is certain."""
    if name.startswith("mace-off-"):
        return _ORGANIC
    return _SOLIDS if name.removeprefix("mace-mp-") in _MP or name in _ALIASES else None


def _tables() -> dict[str, tuple[str, ...]]:
    """Read the keys of mace's tables of downloads from its source, which importing would run."""
    package = find_spec("mace")
    if package is None or package.origin is None:
        return {}
    source = Path(package.origin).parent / "calculators" / "foundations_models.py"
    try:
        tree = ast.parse(source.read_text())
    except (OSError, SyntaxError):
        return {}
    return {
        node.targets[0].id: tuple(
            key.value
            for key in node.value.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Dict)
    }
