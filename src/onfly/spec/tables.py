"""The tables of the documentation, made from the tree of settings.

``python -m onfly.spec.tables docs/configuration.md`` writes them anew between the marks
``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from onfly.spec.base import Spec, Unit
from onfly.spec.campaign import CampaignFile
from onfly.spec.classes import ClassCampaignSpec, ClassFitSpec
from onfly.spec.files import RunFile
from onfly.spec.flat import FLAT_KEYS, GROUPS
from onfly.spec.run import RunSpec
from onfly.spec.stages import MDStage
from onfly.spec.structures import QuerySpec, StructuresSpec
from onfly.spec.tolerance import Tolerance

__all__ = ["TABLES", "Row", "markdown", "rewrite", "rows"]

_SHORT = {path: key for key, path in FLAT_KEYS.items()}


@dataclass(frozen=True)
class Row:
    """One setting.

    Parameters
    ----------
    key
        Within its group.
    flat
        The short form beside the groups, or empty.
    type, unit, default, limits
        As text; empty where there is none.
    sentence
        What it means.
    """

    key: str
    flat: str
    type: str
    unit: str
    default: str
    limits: str
    sentence: str


def rows(model: type[Spec], group: str = "") -> Iterator[Row]:
    """Yield the settings of a group, but not those that are groups of their own.

    Parameters
    ----------
    model
        The group.
    group
        Its name in `RunSpec`, by which flat keys are found.
    """
    for name, info in model.model_fields.items():
        if name == "spec":
            continue
        unit = next((m.symbol for m in info.metadata if isinstance(m, Unit)), "")
        yield Row(
            key=name,
            flat=_SHORT.get((group, name), ""),
            type=_type(info.annotation),
            unit=unit,
            default=_default(info),
            limits=_limits(info),
            sentence=info.description or "",
        )


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return "one of"
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not NoneType)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return "list"
        return "pair"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, Spec)):
        return "mapping"
    names = {float: "number", int: "integer", str: "text", bool: "true or false", Path: "path"}
    return names.get(annotation, "mapping")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Spec):
        inner = value.model_dump(exclude_defaults=True)
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in inner.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_yaml(v) for v in value) + "]"
    return str(value)


def _limits(info: FieldInfo) -> str:
    parts: list[str] = []
    annotation = info.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    for item in info.metadata:
        for kind, sign in (
            (annotated_types.Gt, ">"),
            (annotated_types.Ge, "≥"),
            (annotated_types.Lt, "<"),
            (annotated_types.Le, "≤"),
        ):
            if isinstance(item, kind):
                parts.append(f"{sign} {getattr(item, kind.__name__.lower()):g}")
        if isinstance(item, annotated_types.MinLen) and _type(annotation) == "list":
            parts.append(f"at least {item.min_length}")
    return ", ".join(parts)


def _group(name: str) -> type[Spec]:
    group = RunSpec.model_fields[name].annotation
    assert isinstance(group, type)
    assert issubclass(group, Spec)
    return group


TABLES: dict[str, tuple[type[Spec], str]] = {
    "run file": (RunFile, ""),
    "campaign file": (CampaignFile, ""),
    "class model": (ClassCampaignSpec, ""),
    "class fit": (ClassFitSpec, ""),
    "structures": (StructuresSpec, ""),
    "query": (QuerySpec, ""),
    "stages": (MDStage, ""),
    "tolerances": (Tolerance, ""),
    **{name: (_group(name), name) for name in GROUPS if name not in ("tolerance", "seed")},
}


def markdown(name: str) -> str:
    """Return one of `TABLES` in Markdown."""
    model, group = TABLES[name]
    found = list(rows(model, group))
    flat = any(row.flat for row in found)
    head = ["key", *(["short form"] if flat else []), "type", "unit", "default", "limits"]
    lines = [f"| {' | '.join([*head, 'meaning'])} |", "|" + "---|" * (len(head) + 1)]
    for row in found:
        cells = [f"`{row.key}`"]
        if flat:
            cells.append(f"`{row.flat}`" if row.flat else "")
        cells += [row.type, row.unit, row.default, row.limits, row.sentence]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def rewrite(page: str) -> str:
    """Return a page with its tables made anew.

    Raises
    ------
    KeyError
        If the page marks a table that does not exist.
    """
    return re.sub(
        r"<!-- table: ([\w ]+?) -->\n.*?<!-- end -->",
        lambda m: f"<!-- table: {m[1]} -->\n\n{markdown(m[1])}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _main(arguments: list[str]) -> None:
    for argument in arguments:
        path = Path(argument)
        path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
