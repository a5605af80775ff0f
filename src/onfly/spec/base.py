"""What all groups of settings share: frozen, strict, and stored as plain dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

__all__ = ["Spec", "Unit"]


@dataclass(frozen=True)
class Unit:
    """The unit of a setting, as ``Annotated[float, Unit("fs")]``; the docs show it."""

    symbol: str


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
        return value

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
