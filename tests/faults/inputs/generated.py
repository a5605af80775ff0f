"""Every setting of a run with values of a wrong type, out of range, nan and inf.

The cases follow from the tree of settings itself, so that a new setting has its cases at once.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from onfly.spec import RunSpec, Spec
from tests.faults.inputs.case import Case, settings

__all__ = ["GENERATED"]

# written by hand: their messages say more than which key it is
_BY_HAND = {("labels", "labeller"), ("foundation", "source"), ("trajectories", "stages")}
_WRONG: dict[Any, tuple[str, ...]] = {
    int: ("some", "1.5", ".nan", ".inf", "true", "[1]", "{a: 1}", "-7"),
    float: ("some", ".nan", ".inf", "-.inf", "true", "[1, 2, 3]", "{a: 1}", "-7.5", "5 parsec"),
    str: ("5", "true", "[a]", "{a: 1}"),
    bool: ("perhaps", "3", "[true]"),
    Literal: ("nonsense", "5", "[a]"),
    dict: ("5", "some", "[1]"),
    tuple: ("1.5", "{a: 1}"),
}


def _kinds(annotation: Any) -> set[Any]:
    """Return the kinds of values that a setting takes."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(argument) for argument in get_args(annotation)))
    return {origin or annotation} - {type(None)}


def _bounds(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        if isinstance(limit, Gt):
            yield str(limit.gt)
        elif isinstance(limit, Ge):
            yield str(limit.ge - 1)
        elif isinstance(limit, Lt):
            yield str(limit.lt)
        elif isinstance(limit, Le):
            yield str(limit.le + 1)


def _values(field: FieldInfo) -> Iterator[str]:
    kinds = _kinds(field.annotation)
    if str in kinds and kinds & {int, float}:
        return
    wrong = [set(_WRONG.get(kind, ())) for kind in kinds]
    allowed = {"[1, 2, 3]", "[1]"} if tuple in kinds and float not in kinds else set()
    for value in sorted(set.intersection(*wrong) - allowed) if wrong else ():
        if value.startswith("-7") and not _has_lower_bound(field):
            continue  # a pressure may be negative
        yield value
    yield from _bounds(field)


def _has_lower_bound(field: FieldInfo) -> bool:
    return any(isinstance(limit, Gt | Ge) for limit in field.metadata)


def _leaves(model: type[Spec], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Spec):
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name), field


def _cases() -> Iterator[Case]:
    from onfly.spec import MDStage, Tolerance

    for path, field in _leaves(RunSpec):
        if path in _BY_HAND or path == ("tolerance",):
            continue
        for value in _values(field):
            if len(path) == 1:
                changes: dict[str, str | None] = {path[0]: value}
            elif path[0] == "foundation":
                changes = {
                    "foundation_model": None,
                    "foundation": f"{{source: toy, {path[1]}: {value}}}",
                }
            else:
                changes = {path[0]: f"{{{path[1]}: {value}}}"}
            yield _case(path, value, changes)
    for name, field in MDStage.model_fields.items():
        for value in _values(field):
            first = "" if name == "n_steps" else "n_steps: 40, "
            stage = f"[{{{first}{name}: {value}}}]"
            yield _case(("stages", name), value, {"stages": stage})
    for name, field in Tolerance.model_fields.items():
        for value in _values(field):
            entry = {"quantity": "force", "value": "100 meV/Å"} | {name: value}
            text = "[{" + ", ".join(f"{k}: {v}" for k, v in entry.items()) + "}]"
            yield _case(("tolerance", name), value, {"threshold": None, "tolerance": text})


def _case(path: tuple[str, ...], value: str, changes: dict[str, str | None]) -> Case:
    says = rf"line \d+: {path[0]}[^:]*" + _key(path)
    return Case(f"{'.'.join(path)}: {value}", says, {"run.yaml": settings(changes)})


def _key(path: tuple[str, ...]) -> str:
    if not path[1:]:
        return ":"
    # the unit of a tolerance depends on its quantity, and is told for the tolerance
    return r"\.0" if path == ("tolerance", "value") else rf"({path[-1]}|: .*{path[-1]})"


GENERATED = tuple({case.name: case for case in _cases()}.values())
