"""Classes named in a configuration: looked up and checked before anything of them is called.

A dotted name comes from a file that may be another's. ``os.system`` is a dotted name too, and its
keyword arguments a command: a name must lead to a class of the expected kind, or to a function
that declares to return one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ase.calculators.calculator import BaseCalculator, FileIOCalculator
from jobflow import Maker

from onfly.spec.base import not_finite

__all__ = ["calculator_class", "check_keywords", "maker_class"]

# whose default_parameters name all that they know
_COMPLETE = frozenset(
    {
        "ase.calculators.emt.EMT",
        "ase.calculators.lj.LennardJones",
        "ase.calculators.morse.MorsePotential",
        "tblite.ase.TBLite",
        "onfly.labels.pyscf_calculator.PySCF",
    }
)
_BASE_KEYWORDS = frozenset({"restart", "ignore_bad_restart_file", "label", "atoms", "directory"})
# how close a keyword must be to a known one to be taken for a misspelling of it
_CLOSE = 0.75


def _look_up(path: str, what: str) -> Any:
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"the {what} {path!r} is not a dotted name of module and class")
    module, _, attribute = path.rpartition(".")
    if not module:
        raise ValueError(f"the {what} {path!r} is not a dotted name such as 'package.module.Class'")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = " (install its package; a module of your own is found through PYTHONPATH)"
        raise ValueError(f"the {what} {path!r} cannot be imported: {error}{hint}") from error
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(
            f"the {what} {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    except SystemExit as error:  # a module that calls sys.exit when it is imported
        raise ValueError(
            f"the {what} {path!r} cannot be imported: it called sys.exit({error.code})"
        ) from error


def maker_class(path: str) -> type[Maker]:
    """Return the Maker class of a dotted name.

    Raises
    ------
    ValueError
        If it cannot be imported or is no subclass of `jobflow.Maker`.
    """
    found = _look_up(path, "labeller")
    if not (isinstance(found, type) and issubclass(found, Maker)):
        raise ValueError(
            f"the labeller {path!r} is no Maker; ASE calculators go into "
            "onfly.labels.ase.AseLabelMaker(calculator=...)"
        )
    if found.make is Maker.make:
        raise ValueError(f"the labeller {path!r} makes nothing: give a class derived from it")
    return found


def calculator_class(path: str) -> Callable[..., Any]:
    """Return the class of an ASE calculator, or a function that says it returns one.

    Raises
    ------
    ValueError
        If the name cannot be imported, or leads to anything else. Nothing of it was called then.
    """
    found = _look_up(path, "calculator")
    if isinstance(found, type):
        if _is_calculator(found):
            return found
    elif inspect.isfunction(found):
        # functions such as mace.calculators.mace_mp declare what they return
        try:
            returned = typing.get_type_hints(found).get("return")
        except Exception:  # annotations that are no expressions, or of modules that are missing
            returned = None
        kinds = typing.get_args(returned) or (returned,)
        if any(isinstance(kind, type) and _is_calculator(kind) for kind in kinds):
            return found
    raise ValueError(
        f"the calculator {path!r} is no ASE calculator, so nothing of it was called: give the "
        "dotted name of a subclass of ase.calculators.calculator.Calculator, or of a function "
        "whose return annotation is one"
    )


def _is_calculator(cls: type) -> bool:
    # GPAW's new class is none of ASE's, but does what one does
    methods = ("get_potential_energy", "get_forces")
    return issubclass(cls, BaseCalculator) or (
        hasattr(cls, "implemented_properties") and all(hasattr(cls, m) for m in methods)
    )


def check_keywords(path: str, target: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Refuse keywords that a class or function does not take.

    Many calculators take any keyword and ignore those they do not know; a misspelt setting would
    then silently be the default. Where ``default_parameters`` names the known ones, a keyword that
    is close to one of them, but none, is refused.

    Parameters
    ----------
    path
        Dotted name, for the message.
    target
        What it names.
    keywords
        Its keyword arguments.

    Raises
    ------
    ValueError
        If a keyword is unknown, missing, or has a value that is nan or infinite.
    """
    for key, value in keywords.items():
        if not isinstance(key, str):
            raise ValueError(f"{path}: the keyword {key!r} is no name")
        if bad := not_finite(value, key):
            raise ValueError(f"{path}: {bad}, it must be finite")
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # classes of compiled modules
        return
    parameters = signature.parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = _known(target, named)
        complete = path in _COMPLETE
        if complete:
            _check_numbers(path, target, keywords)
        for key in keywords if known else ():
            near = difflib.get_close_matches(key, known, 1, _CLOSE)
            if key not in known and (complete or near):
                raise ValueError(_unknown(path, key, known))
    else:
        for key in keywords:
            if key not in named:
                raise ValueError(_unknown(path, key, named))
    try:
        signature.bind(**keywords)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_numbers(path: str, target: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Refuse what is no number where the default is one."""
    for key, default in getattr(target, "default_parameters", {}).items():
        number = isinstance(default, int | float) and not isinstance(default, bool)
        value = keywords.get(key)
        if number and isinstance(value, str | bool | list | dict):
            raise ValueError(f"{path}: {key} is {value!r}, a number is expected")


def _known(target: Callable[..., Any], named: list[str]) -> list[str]:
    """Return the keywords of a calculator, or an empty list if it does not tell them."""
    defaults = getattr(target, "default_parameters", None)
    # those that write an input file take any keyword of their code
    if not defaults or (isinstance(target, type) and issubclass(target, FileIOCalculator)):
        return []
    return sorted({*defaults, *named, *_BASE_KEYWORDS})


def _unknown(path: str, key: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known) or 'none'}"
    return f"{path} has an unexpected keyword {key!r}: {hint}"
