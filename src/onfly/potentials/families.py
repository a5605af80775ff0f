"""What is known of each family without importing it: its models' names, files, package, options.

A family from outside is a `Family` object under an entry point of the group ``onfly.potentials``,
or a module with the functions ``matches`` and ``load``. An object in a module of its own, which
imports nothing heavy, keeps checks quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ase.data import chemical_symbols

from onfly.potentials.mace_names import mace_elements, mace_names
from onfly.spec.entry_points import attribute, paths_of

__all__ = ["ENTRY_POINT_GROUP", "FAMILIES", "TRUST", "Family", "families"]

ENTRY_POINT_GROUP = "onfly.potentials"
TRUST = "trust_pickle"
_TRUST_SENTENCE = "Read a file whose content is run as a program; only if you trust its source."


@dataclass(frozen=True)
class Family:
    """A family of potentials, described without loading any.

    Parameters
    ----------
    name
        Such as ``"mace"``.
    loader
        ``"module:function"``, imported only to load a model. The function is called with
        ``(source, elements=..., device=..., dtype=...)`` and with the options that were given, by
        name, and returns a `Potential`.
    package
        Import name of the package it needs; None needs none.
    install
        What to do where the package is missing.
    names
        Names of released models, or a function that returns them.
    matches
        Function that says whether a further name is one of the family's.
    suffixes
        Ends of the names of its model files, such as ``".model"``.
    options
        Options of its loader: name -> one sentence.
    elements
        Function of a released model's name that returns the chemical symbols it knows, or None
        where that is not known before loading.
    kernels
        Whether the loader takes ``fast_kernels``.
    problems
        Function of a model's name and options that returns what would keep it from being loaded, a
        sentence each.
    fixed
        Function of a model's name that returns the name that means the same model for ever, for
        families where a name means the newest of several versions.
    stamp
        Function of a model's name that tells it from another model of that name, for families
        whose models are found by the settings of the machine.

    Examples
    --------
    >>> Family("mine", "my_package.onfly_family:load", names=("mine-small",)).knows("mine-small")
    True
    """

    name: str
    loader: str
    package: str | None = None
    install: str | None = None
    names: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    matches: Callable[[str], bool] | None = None
    suffixes: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    elements: Callable[[str], tuple[str, ...] | None] | None = None
    kernels: bool = False
    problems: Callable[[str, Mapping[str, Any]], list[str]] | None = None
    fixed: Callable[[str], str] | None = None
    stamp: Callable[[str], Any] | None = None

    def released(self) -> tuple[str, ...]:
        """Return the names of released models."""
        return self.names() if callable(self.names) else self.names

    def knows(self, name: str) -> bool:
        """Say whether a name is that of a released model."""
        return name in self.released() or (self.matches is not None and self.matches(name))

    def installed(self) -> bool:
        """Say whether the package that it needs is there, without importing it."""
        return self.package is None or find_spec(self.package) is not None

    def known_elements(self, name: str) -> tuple[str, ...] | None:
        """Return the chemical symbols that a released model knows, if that is known."""
        return self.elements(name) if self.elements is not None and self.knows(name) else None


def _of_classes(function: str) -> Callable[..., Any]:
    """Return a function of `onfly.classes.loading`, which is imported when it is called."""
    return lambda *given: attribute(f"onfly.classes.loading:{function}")(*given)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "chgnet",
            "onfly.potentials.chgnet:load",
            package="chgnet",
            install='pip install "onfly[chgnet]"',
            names=("chgnet-0.3.0", "chgnet-r2scan", "chgnet"),
            elements=lambda _: tuple(chemical_symbols[1:95]),
        ),
        Family(
            "mace",
            "onfly.potentials.mace:load",
            package="mace",
            install='pip install "onfly[mace]"',
            names=mace_names,
            suffixes=(".model",),
            options={
                "head": "Which head of a model with several; default: the one called default.",
                TRUST: _TRUST_SENTENCE,
            },
            elements=mace_elements,
            kernels=True,
        ),
        Family(
            "sevennet",
            "onfly.potentials.sevennet:load",
            package="sevenn",
            install='pip install "onfly[nequip]", in an environment without mace',
            names=("sevennet-0", "sevennet-l3i5"),
            suffixes=(".pth",),
            options={TRUST: _TRUST_SENTENCE},
            kernels=True,
        ),
        Family(
            "nequip",
            "onfly.potentials.nequip:load",
            package="nequip",
            install='pip install "onfly[nequip]", in an environment without mace',
            suffixes=(".nequip.zip",),
            options={TRUST: _TRUST_SENTENCE},
        ),
        Family(
            "equiformer_v2",
            "onfly.potentials.equiformer:load",
            package="fairchem",
            install='pip install "onfly[equiformer]", then '
            "pip install --no-deps fairchem-core==1.10.0, in an environment of its own",
            suffixes=(".pt",),
        ),
        Family(
            "toy",
            "onfly.potentials.toy:load",
            names=("toy",),
            matches=lambda name: name.startswith("toy-") and name[4:].isdecimal(),
            elements=lambda _: tuple(chemical_symbols[1:]),
        ),
        Family(
            "class",
            "onfly.classes.loading:load",
            matches=lambda name: name.startswith("class:"),
            options={TRUST: _TRUST_SENTENCE},
            elements=_of_classes("class_elements"),
            kernels=True,
            problems=_of_classes("class_problems"),
            fixed=_of_classes("fixed_name"),
            stamp=_of_classes("class_stamp"),
        ),
    )
}


def families() -> dict[str, Family]:
    """Return all families, those of the package and those that entry points add.

    Returns
    -------
    dict
        By name.

    Raises
    ------
    TypeError
        If an entry point names anything else than a `Family`.
    ValueError
        If it takes the name of a family of the package.

    Examples
    --------
    >>> {"mace", "chgnet", "sevennet"} <= families().keys()
    True
    """
    return {**FAMILIES, **_from_outside()}


def _from_outside() -> dict[str, Family]:
    found = {}
    for name, value in paths_of(ENTRY_POINT_GROUP).items():
        family = _as_family(name, value, attribute(value, f"family of potentials {name!r}"))
        if family.name in FAMILIES:
            raise ValueError(
                f"entry point {name} = {value}: onfly itself has a family {family.name}"
            )
        found[family.name] = family
    return found


def _as_family(name: str, value: str, found: object) -> Family:
    if isinstance(found, Family):
        return found
    matches = getattr(found, "matches", None)
    if isinstance(found, ModuleType) and callable(matches) and callable(getattr(found, "load", 0)):
        return Family(name, f"{found.__name__}:load", matches=matches)
    raise TypeError(
        f"entry point {name} = {value} of the group {ENTRY_POINT_GROUP} is a "
        f"{type(found).__name__}, expected an onfly.potentials.Family object, or a module with "
        "the functions matches(name) and load(name, elements, device, dtype)"
    )
