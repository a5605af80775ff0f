"""How large an error may be, of what, and where."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from onfly.spec.base import Spec, Unit
from onfly.spec.quantities import Quantity, format_quantity, known_units, parse_quantity

__all__ = ["Tolerance", "units_required"]


_SMALLEST = 1e-9  # eV, eV/Å, eV/Å³


def units_required(info: ValidationInfo) -> bool:
    """Whether a number without a unit is an error: it is in a file, and not in Python."""
    return bool(info.context and info.context.get("units_required"))


class Tolerance(Spec):
    """The largest error that a step may have; a label is asked for where it may be larger.

    Values are in eV, eV/Å or eV/Å³ where no unit is given.

    Raises
    ------
    ValueError
        If value and quantity do not fit, or the atoms that count are named twice.

    Examples
    --------
    >>> Tolerance(quantity="force", value="100 meV/Å", species=("H",)).name
    'force[H]'
    """

    quantity: Quantity = Field(
        description="`energy` of the whole cell, `energy_per_atom`, `force` of an atom, or "
        "`stress` (its largest component)."
    )
    value: Annotated[float, Unit("eV, eV/Å, eV/Å³")] = Field(
        gt=0,
        description="Largest error, with its unit: `5 kcal/mol`, `100 meV/Å`, `1 kbar`.",
    )
    species: tuple[str, ...] | None = Field(
        None, min_length=1, description="Only forces on atoms of these elements."
    )
    sites: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="Only forces on these atoms, counted from 0."
    )
    region: str | None = Field(
        None,
        description="Dotted name of a function that takes the atoms (ASE) and returns for each "
        "whether its force counts.",
    )
    max_probability: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="A label is asked for when P(error > value) is larger. Smaller values cost "
        "labels and buy safety.",
    )

    @model_validator(mode="before")
    @classmethod
    def _unit(cls, data: Any, info: ValidationInfo) -> Any:
        # the unit depends on the quantity, so the value is converted before the fields are
        if not isinstance(data, dict) or data.get("quantity") not in _QUANTITIES:
            return data
        quantity, value = data["quantity"], data.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if units_required(info):
                units = known_units(quantity)
                raise ValueError(
                    f"value {value} has no unit: write for example '{value} {units[0]}' "
                    f"(units: {', '.join(units)})"
                )
            return data
        if isinstance(value, str):
            return {**data, "value": parse_quantity(value, quantity)}
        return data

    @field_validator("value")
    @classmethod
    def _not_below_rounding(cls, value: float) -> float:
        if value < _SMALLEST:
            raise ValueError(f"{value:g} is smaller than the rounding errors of energies")
        return value

    @field_validator("species", "sites", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value

    @field_validator("species")
    @classmethod
    def _elements(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for symbol in value or ():
            if not re.fullmatch(r"[A-Z][a-z]?", symbol):
                raise ValueError(f"{symbol!r} is not the symbol of an element, such as H or Zr")
        return value

    @field_validator("region")
    @classmethod
    def _dotted(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            raise ValueError(f"{value!r} is not the dotted name of a function: module.function")
        return value

    @model_validator(mode="after")
    def _scope(self) -> Tolerance:
        given = [n for n in ("species", "sites", "region") if getattr(self, n) is not None]
        if given and self.quantity != "force":
            raise ValueError(f"{given[0]} restricts forces, not {self.quantity}: leave it out")
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}: they are not combined")
        return self

    @property
    def name(self) -> str:
        """What it is called in documents and reports, such as ``energy`` or ``force[H]``."""
        if self.species is not None:
            return f"{self.quantity}[{','.join(self.species)}]"
        if self.sites is not None:
            return f"{self.quantity}[{','.join(str(i) for i in self.sites)}]"
        if self.region is not None:
            return f"{self.quantity}[{self.region}]"
        return self.quantity

    @property
    def text(self) -> str:
        """The value with its unit."""
        return format_quantity(self.value, self.quantity)


_QUANTITIES = ("energy", "energy_per_atom", "force", "stress")
