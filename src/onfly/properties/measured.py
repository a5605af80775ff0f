"""What a property is, and what measuring it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

__all__ = ["Measured", "Property", "Scale", "check_positive"]

# which calibration says how wide the draws should be
Scale = Literal["energy", "forces", "stress"]


@dataclass(frozen=True)
class Measured:
    """Values of a property by one force field.

    Parameters
    ----------
    values
        By name; see `Property.unit`.
    curves
        Arrays for figures, by name; those of draws have one shape.

    Examples
    --------
    >>> Measured(values={"B0": 134.0}).values["B0"]
    134.0
    """

    values: Mapping[str, float]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)


class Property(Protocol):
    """A property that any ASE calculator can be asked for.

    Attributes
    ----------
    kind
        Its name in settings and documents.
    scale
        The calibration that applies to the spread of its draws.

    Examples
    --------
    >>> from onfly.properties.eos import EquationOfStateFit
    >>> EquationOfStateFit.kind, EquationOfStateFit.scale
    ('eos', 'stress')
    """

    kind: ClassVar[str]
    scale: ClassVar[Scale]

    def unit(self, name: str) -> str:
        """Return the unit of a value."""

    def measure(self, calculator: Calculator, cell: Atoms) -> Measured:
        """Measure it in a cell that the calculator has relaxed."""


def check_positive(found: Property, *names: str) -> None:
    """Refuse settings of a property that are not positive.

    Parameters
    ----------
    found
        The property.
    names
        Of its settings.

    Raises
    ------
    ValueError
        If one is not.

    Examples
    --------
    >>> from onfly.properties.phonon import Phonons
    >>> Phonons(displacement=0.0)
    Traceback (most recent call last):
        ...
    ValueError: displacement must be positive, got 0.0
    """
    for name in names:
        if not getattr(found, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(found, name)!r}")
