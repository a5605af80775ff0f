"""The zero of a model's energies, in cells of any size.

The energy of the foundation model and that of the labels differ by a constant, which the first
label of a run sets. It belongs to the cell that was labelled: of a cell with twice as many formula
units it is twice as large. For another composition of the same elements it is unknown, unless the
model has offsets by element that were aligned over many compounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ase.calculators.calculator import PropertyNotImplementedError

if TYPE_CHECKING:
    from onfly.schemas import FineTunedModelDoc, PosteriorDoc

__all__ = ["EnergyOffset", "EnergyScaleError"]


class EnergyScaleError(PropertyNotImplementedError):
    """An energy was asked of a composition for which the model has no zero of energy.

    Examples
    --------
    >>> EnergyOffset(-8.0, {"Na": 4, "Cl": 4}).of({"Na": 3, "Cl": 4})
    Traceback (most recent call last):
        ...
    onfly.library.energy_offset.EnergyScaleError: the zero of energy is known for ...
    """


@dataclass(frozen=True)
class EnergyOffset:
    """Foundation minus label energy as a function of the composition.

    Parameters
    ----------
    value
        Of the labelled cell, eV.
    counts
        Number of atoms of each element in the labelled cell.
    per_element
        Offset of one atom by element, eV, aligned over many compounds; None if there are none.
        What they leave unexplained of `value` is divided evenly over the atoms, so that a dilute
        defect in a large cell changes the offset by that of its atoms only.

    Examples
    --------
    >>> offset = EnergyOffset(-8.0, {"Na": 4, "Cl": 4})
    >>> offset.of({"Na": 1, "Cl": 1})
    -2.0
    >>> offset.of({"Na": 3, "Cl": 4})
    Traceback (most recent call last):
        ...
    onfly.library.energy_offset.EnergyScaleError: the zero of energy is known for ...
    """

    value: float
    counts: Mapping[str, int]
    per_element: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.counts or any(n < 1 for n in self.counts.values()):
            raise ValueError(f"the labelled cell has no atoms of some element: {self.counts}")

    @classmethod
    def from_document(cls, doc: FineTunedModelDoc | PosteriorDoc) -> EnergyOffset:
        """Return the offset of a model or a run.

        Raises
        ------
        ValueError
            If the document has no offset or no composition.
        """
        composition = doc.composition
        structure = getattr(doc, "structure", None)
        if composition is None and structure is not None:
            composition = structure.composition
        if composition is None or doc.energy_offset is None:
            raise ValueError("the document names neither a composition nor a structure")
        counts: Counter[str] = Counter()
        for element, amount in composition.get_el_amt_dict().items():
            counts[element] += round(amount)
        return cls(doc.energy_offset, dict(counts), getattr(doc, "element_offsets", None))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the labelled cell."""
        return sum(self.counts.values())

    def same_compound(self, counts: Mapping[str, int]) -> bool:
        """Return whether a cell has the labelled cell's composition, in any number of units."""
        n_atoms = sum(counts.values())
        return set(counts) == set(self.counts) and all(
            counts[element] * self.n_atoms == n * n_atoms for element, n in self.counts.items()
        )

    def of(self, counts: Mapping[str, int]) -> float:
        """Return the offset of a cell in eV.

        Parameters
        ----------
        counts
            Number of atoms of each element.

        Raises
        ------
        EnergyScaleError
            If it has another composition, for which the model has no offsets by element.
        """
        n_atoms = sum(counts.values())
        if self.same_compound(counts):
            # exact where the sizes agree, so that the labelled cell keeps its offset bit for bit
            return self.value if n_atoms == self.n_atoms else self.value * (n_atoms / self.n_atoms)
        shifts = self.per_atom(sorted(counts))
        return sum(counts[element] * shifts[element] for element in counts)

    def per_atom(self, elements: Sequence[str]) -> dict[str, float]:
        """Return the offset of one atom of each element, which need not be the compound's, in eV.

        Raises
        ------
        EnergyScaleError
            If the model has no offsets by element, or not of all of these.
        """
        known = self.per_element or {}
        missing = [e for e in (*self.counts, *elements) if e not in known]
        if missing:
            raise EnergyScaleError(
                f"the zero of energy is known for {_formula(self.counts)} in cells of any size, "
                "and not for other compositions of these elements: forces and stress are there, "
                "energies are refused. Pass energy_scale='foundation' for energies on the "
                "foundation model's own scale, whose differences at fixed composition are right."
            )
        explained = sum(n * known[element] for element, n in self.counts.items())
        rest = (self.value - explained) / self.n_atoms
        return {element: known[element] + rest for element in elements}


def _formula(counts: Mapping[str, int]) -> str:
    # deferred, since pymatgen takes a second to import
    from pymatgen.core import Composition

    return Composition(dict(counts)).reduced_formula
