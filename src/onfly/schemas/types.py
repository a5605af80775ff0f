"""Field types and metadata that periodic and molecular structures share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from ase import Atoms
from emmet.core.structure import StructureMetadata
from pydantic import BeforeValidator, PlainSerializer
from pymatgen.core import Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.schemas.foreign import refuse_foreign

__all__ = ["StructureOrMolecule", "from_any_structure", "to_atoms", "to_structure"]

DocT = TypeVar("DocT", bound=StructureMetadata)


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        refuse_foreign(value)
        cls = Molecule if value.get("@class") == "Molecule" else Structure
        return cls.from_dict(value)
    return value


StructureOrMolecule = Annotated[
    Structure | Molecule,
    BeforeValidator(_decode),
    PlainSerializer(lambda value: value.as_dict(), return_type=dict),
]


def from_any_structure(
    cls: type[DocT], meta_structure: Structure | Molecule, **fields: Any
) -> DocT:
    """Build a document with the metadata of a structure or, without symmetry, of a molecule."""
    if isinstance(meta_structure, Molecule):
        return cls.from_composition(composition=meta_structure.composition, **fields)
    return cls.from_structure(meta_structure=meta_structure, **fields)


def to_atoms(structure: Structure | Molecule) -> Atoms:
    """Return plain Atoms: species, positions, cell and periodicity, without other properties."""
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    return Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )


def to_structure(atoms: Atoms) -> Structure | Molecule:
    """Return a Structure, or a Molecule if no direction is periodic."""
    plain = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    if plain.pbc.any():
        return AseAtomsAdaptor.get_structure(plain)
    return Molecule(plain.get_chemical_symbols(), plain.positions)
