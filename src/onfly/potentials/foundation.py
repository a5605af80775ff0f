"""Which foundation a name or a table means, and what is wrong with it, before anything is loaded.

Nothing here imports torch or a family's package, and no file is unpickled.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onfly.potentials.converted import read_header
from onfly.potentials.families import TRUST, Family, families
from onfly.potentials.sniffing import family_of_file
from onfly.potentials.trust import file_sha256, refusal

__all__ = [
    "Foundation",
    "FoundationDescription",
    "check_foundation",
    "describe_foundation",
    "fixed_source",
    "foundation_stamp",
    "parse_foundation",
]

EXAMPLES = "chgnet-0.3.0, chgnet-r2scan, mace-mp-medium, sevennet-0"


@dataclass(frozen=True)
class Foundation:
    """A foundation potential, as the user named it.

    Parameters
    ----------
    family
        Name of the family, such as ``"mace"``.
    source
        Name of a released model, or path of a file.
    options
        Options of the family's loader.
    """

    family: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundationDescription:
    """What is known of a foundation without loading it.

    Parameters
    ----------
    family, source, options
        As of `Foundation`.
    path
        The model file, if the source is one.
    sha256
        Digest of that file.
    installed
        Whether the family's package is there.
    elements
        Chemical symbols that it knows; None where only loading would tell.
    pickled
        Whether loading runs what the file says.
    trusted
        Whether it may be loaded as it is.
    """

    family: str
    source: str
    options: Mapping[str, Any]
    path: Path | None
    sha256: str | None
    installed: bool
    elements: tuple[str, ...] | None
    pickled: bool
    trusted: bool


def parse_foundation(foundation: Any) -> Foundation:
    """Return which foundation is meant.

    Parameters
    ----------
    foundation
        A name (``"chgnet-0.3.0"``), the path of a file, a table with ``family``, ``source`` and
        ``options``, or an object with these attributes. The family of a bare path is found by
        looking into the file.

    Raises
    ------
    ValueError
        If the name, the family or an option is unknown (with the closest known one), or a bare
        path could be of several families.
    FileNotFoundError
        If a path was named and there is no such file.

    Examples
    --------
    >>> parse_foundation("chgnet-0.3.0")
    Foundation(family='chgnet', source='chgnet-0.3.0', options={})
    >>> parse_foundation("chgnet-0.3.1")
    Traceback (most recent call last):
    ValueError: unknown foundation model 'chgnet-0.3.1': did you mean chgnet-0.3.0 or chgnet?
    """
    if isinstance(foundation, str | Path):
        return Foundation(_family_of_name(str(foundation)).name, str(foundation))
    if isinstance(foundation, Mapping):
        parts = dict(foundation)
    else:
        parts = {key: getattr(foundation, key, None) for key in ("family", "source", "options")}
    if extra := sorted(set(parts) - {"family", "source", "options"}):
        raise ValueError(
            f"a foundation has family, source and options, not {', '.join(map(str, extra))}"
        )
    source, options = parts.get("source"), dict(parts.get("options") or {})
    if not source:
        raise ValueError(f"a foundation needs a source: a name such as {EXAMPLES}, or a file")
    source = str(source)
    name = parts.get("family")
    if name is None:
        family = _family_of_name(source)
    else:
        family = _named_family(str(name))
        _check_source(family, source)
    _check_options(family, options)
    return Foundation(family.name, source, options)


def describe_foundation(foundation: Any) -> FoundationDescription:
    """Describe a foundation without loading it; for parameters and errors see `parse_foundation`.

    Examples
    --------
    >>> describe_foundation("toy").elements[:3]
    ('H', 'He', 'Li')
    """
    found = parse_foundation(foundation)
    family = families()[found.family]
    path = None if family.knows(found.source) else Path(found.source).expanduser()
    sha256 = elements = None
    pickled = trusted = False
    if path is None:
        elements = family.known_elements(found.source)
    else:
        sha256 = file_sha256(path)
        header = read_header(path)
        pickled = header is None and TRUST in family.options
        elements = None if header is None else header.elements
    trusted = not pickled or path is None or not refusal(path, _trust(found), sha256)
    return FoundationDescription(
        found.family,
        found.source,
        found.options,
        path,
        sha256,
        family.installed(),
        elements,
        pickled,
        trusted,
    )


def check_foundation(foundation: Any, elements: Sequence[str] = ()) -> list[str]:
    """Return what would keep a foundation from being loaded, a sentence each; empty if nothing.

    Names, files, packages, options and trust are checked, and elements where they are known
    without loading. A damaged file shows only when it is loaded.

    Parameters
    ----------
    foundation
        As of `parse_foundation`.
    elements
        Chemical symbols of the system.

    Examples
    --------
    >>> check_foundation("toy", ["Na", "Cl"])
    []
    >>> check_foundation("mace-mp-medum")
    ["unknown foundation model 'mace-mp-medum': did you mean mace-mp-medium or ...?"]
    """
    try:
        found = describe_foundation(foundation)
    except (ValueError, TypeError, OSError) as error:
        return [str(error)]
    family = families()[found.family]
    problems = []
    if not found.installed:
        problems.append(
            f"{found.source} needs the package {family.package}, which is not installed: "
            f"{family.install}"
        )
    if family.problems is not None and found.path is None:
        problems += family.problems(found.source, found.options)
    if not found.trusted and found.path is not None:
        problems.append(str(refusal(found.path, sha256=found.sha256)))
    if found.elements is not None:
        unknown = sorted(set(elements) - set(found.elements))
        if unknown:
            problems.append(
                f"{found.source} does not know the element(s) {', '.join(unknown)}: take another "
                "foundation model"
            )
    return problems


def fixed_source(foundation: Any) -> str:
    """Return the name by which a foundation is the same model for ever.

    What is wrong with a name is not said here, but by `check_foundation` and where it is loaded.

    Raises
    ------
    ValueError
        If the newest of several versions was asked for, and there is none.

    Examples
    --------
    >>> fixed_source("chgnet-0.3.0")
    'chgnet-0.3.0'
    """
    try:
        found = parse_foundation(foundation)
    except (ValueError, TypeError, OSError):
        return str(getattr(foundation, "source", foundation))
    family = families()[found.family]
    return found.source if family.fixed is None else family.fixed(found.source)


def foundation_stamp(source: str) -> Any:
    """Return what tells a model from another one that took its place under the same name."""
    try:
        found = Path(source).expanduser().stat()
    except OSError:
        for family in families().values():
            if family.stamp is not None and family.knows(source):
                return family.stamp(source)
        return None
    return (found.st_mtime_ns, found.st_size)


def _trust(found: Foundation) -> bool:
    return found.options.get(TRUST) is True


def _named_family(name: str) -> Family:
    known = families()
    if name not in known:
        raise ValueError(f"unknown family {name!r}: {_suggest(name, list(known))}")
    return known[name]


def _check_options(family: Family, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in family.options:
            known = ", ".join(family.options) or "none"
            raise ValueError(f"{family.name} has no option {name!r}; it has {known}")
    if not isinstance(options.get(TRUST, False), bool):
        raise ValueError(f"{TRUST} is true or false, not {options[TRUST]!r}")


def _check_source(family: Family, source: str) -> None:
    if family.knows(source) or Path(source).expanduser().is_file():
        return
    if _looks_like_a_path(source):
        raise FileNotFoundError(f"no model file at {source}")
    names = family.released()
    hint = _suggest(source, names) if names else f"{family.name} has only files: give a path"
    raise ValueError(f"unknown foundation model {source!r} of the family {family.name}: {hint}")


def _family_of_name(text: str) -> Family:
    known = families()
    for family in known.values():
        if family.knows(text):
            return family
    path = Path(text).expanduser()
    if path.is_file():
        return _family_of_path(path, known)
    if path.is_dir():
        raise ValueError(f"{text} is a folder, expected a model file")
    if _looks_like_a_path(text):
        raise FileNotFoundError(f"no model file at {text}")
    names = [name for family in known.values() for name in family.released()]
    raise ValueError(f"unknown foundation model {text!r}: {_suggest(text, names)}")


def _family_of_path(path: Path, known: Mapping[str, Family]) -> Family:
    inside = family_of_file(path)
    if inside is not None and inside in known:
        return known[inside]
    by_suffix = [
        family for family in known.values() if path.name.endswith(tuple(family.suffixes) or ("/",))
    ]
    # Other packages call their files .pt and .pth too: the end of a name alone decides nothing.
    if len(by_suffix) == 1 and path.suffix not in (".pt", ".pth"):
        return by_suffix[0]
    raise ValueError(
        f"the file {path} does not show of which family it is: say so, by foundation: "
        f"{{family: ..., source: {path}}}, with one of {', '.join(known)}"
    )


def _looks_like_a_path(text: str) -> bool:
    return "/" in text or Path(text).suffix[1:2].isalpha()


def _suggest(text: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(text.lower(), names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    few = ", ".join(names[:12])
    return f"known are {few}{', …' if len(names) > 12 else ''}; or give the path of a model file"
