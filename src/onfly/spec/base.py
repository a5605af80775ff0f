"""What all groups of settings share: frozen, strict, and stored as plain dictionaries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

__all__ = ["Spec", "Unit", "not_finite"]


_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Unit:
    """The unit of a setting, as ``Annotated[float, Unit("fs")]``; the docs show it."""

    symbol: str


def not_finite(value: Any, name: str = "") -> str | None:
    """Return where a nested value is nan or infinite, such as ``"a.0 is nan"``, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{name} is {value}"
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return None
    below = (not_finite(v, f"{name}.{k}" if name else str(k)) for k, v in items)
    return next((bad for bad in below if bad is not None), None)


class Spec(BaseModel):
    """A group of settings: unknown keys, NaN and infinite numbers are errors.

    `as_dict` and `from_dict` are monty's protocol, so that a group may be a field of a jobflow
    Maker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for the number 1
        if isinstance(value, bool):
            annotation = cls.model_fields[str(info.field_name)].annotation
            if annotation is not bool and bool not in get_args(annotation):
                raise ValueError(f"{str(value).lower()} is not possible here")
        elif isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError("a whole number of so many digits fits neither files nor databases")
        free = isinstance(value, Mapping) and cls._is_free(str(info.field_name))
        if free and (bad := not_finite(value)):
            raise ValueError(f"{bad}, it must be finite")
        return value

    @classmethod
    def _is_free(cls, name: str) -> bool:
        """Whether a field takes any keys, whose values pydantic does not look at."""
        annotation = cls.model_fields[name].annotation
        for part in (annotation, *get_args(annotation)):
            if get_origin(part) is dict:
                inner = get_args(part)[1]
                return not (isinstance(inner, type) and issubclass(inner, BaseModel))
        return False

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with changes, validated again (pydantic's ``model_copy`` does not)."""
        current = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**current | changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, with the name of the class."""
        cls = type(self)
        names = {"@module": cls.__module__, "@class": cls.__name__}
        return names | self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from the result of `as_dict`."""
        return cls(**{k: v for k, v in data.items() if not k.startswith("@")})
