"""Structures at the border: read from a file, and checked before anything computes with them.

What is refused here would be silently wrong or a crash later: the symmetry search of spglib ends
the interpreter at a position that is not a number, ASE reads the partial occupancies of a CIF as
the first of the elements, and an empty value in the header of an extended xyz file swallows the
key after it, for instance the cell.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pymatgen.core import DummySpecies, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial import cKDTree

__all__ = ["MAX_ATOMS", "StructureError", "check_structure", "from_atoms", "read_structure"]

MAX_ATOMS = 10_000
MIN_DISTANCE = 0.5  # Å; the shortest bond, of H2, has 0.74
_MIN_VOLUME = 0.5  # Å³ per atom; diamond has 5.7, hydrogen at megabars about 2

# keys of an extended xyz header without which the file means something else
_SWALLOWED = re.compile(r"\s*(Lattice|pbc|Properties)\s*=", re.IGNORECASE)
_FRAME = re.compile(r"(.+)@(-?\d+)")


class StructureError(ValueError):
    """A structure that cannot be used; the message says why and what to do.

    Examples
    --------
    >>> read_structure("nowhere.cif")
    Traceback (most recent call last):
        ...
    onfly.structures.StructureError: ...
    """


def check_structure(
    structure: Structure | Molecule,
    *,
    max_atoms: int | None = MAX_ATOMS,
    min_distance: float = MIN_DISTANCE,
    name: str = "the structure",
) -> None:
    """Refuse a structure with which nothing sensible can be computed.

    Parameters
    ----------
    structure
        A crystal or a molecule.
    max_atoms
        Largest number of atoms; None allows any.
    min_distance
        Smallest distance of two atoms in Å, periodic images included.
    name
        What to call it in messages, such as the name of its file.

    Raises
    ------
    StructureError
        If it has no atoms, too many, partial occupancies, unknown elements, coordinates or a cell
        that are not finite, a cell without volume, only some periodic directions, or atoms on top
        of each other.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> check_structure(Structure(Lattice.cubic(3.0), ["Cu", "Cu"], [[0, 0, 0], [0.01, 0, 0]]))
    Traceback (most recent call last):
        ...
    onfly.structures.StructureError: the structure: atoms 1 and 2 (Cu, Cu) are 0.03 Å apart, ...
    """
    if not isinstance(structure, (Structure, Molecule)):
        raise StructureError(
            f"{name} is a {type(structure).__name__}: give a pymatgen Structure or Molecule "
            "(onfly.structures.from_atoms turns ASE atoms into one)"
        )
    n_atoms = len(structure)
    if n_atoms == 0:
        raise StructureError(f"{name} has no atoms")
    _check_number(n_atoms, max_atoms, name)
    if not structure.is_ordered:
        raise StructureError(
            f"{name} has partial occupancies: choose an ordered one, for instance with pymatgen's "
            "OrderDisorderedStructureTransformation"
        )
    unknown = sorted({_symbol(site.specie) for site in structure if not _is_element(site.specie)})
    if unknown:
        raise StructureError(
            f"{name} has atoms that are no elements: {', '.join(unknown)} (write deuterium and "
            "tritium as H, and leave dummy atoms out)"
        )
    bad = np.flatnonzero(~np.isfinite(structure.cart_coords).all(axis=1))
    if isinstance(structure, Structure):
        _check_cell(structure.lattice.matrix, n_atoms, name)
        if not all(structure.lattice.pbc):
            raise StructureError(_partial_pbc(name, structure.lattice.pbc))
        bad = np.flatnonzero(~np.isfinite(structure.frac_coords).all(axis=1))
    if len(bad):
        raise StructureError(
            f"{name} has coordinates that are nan or infinite: atom {bad[0] + 1} "
            f"({_symbol(structure[int(bad[0])].specie)})"
        )
    _check_distances(structure, min_distance, name)


def _check_number(n_atoms: int, max_atoms: int | None, name: str) -> None:
    if max_atoms is not None and n_atoms > max_atoms:
        raise StructureError(
            f"{name} has {n_atoms} atoms, above the limit of {max_atoms}: label a smaller cell, "
            f"or raise the limit with `max_atoms: {n_atoms}`"
        )


def _symbol(specie: object) -> str:
    return str(getattr(specie, "symbol", specie))


def _is_element(specie: object) -> bool:
    # ASE knows "X" as well, as an atom of no kind
    return not isinstance(specie, DummySpecies) and _symbol(specie) in set(atomic_numbers) - {"X"}


def _check_cell(cell: np.ndarray, n_atoms: int, name: str) -> None:
    if not np.isfinite(cell).all():
        raise StructureError(f"{name} has a cell that is nan or infinite")
    volume = abs(float(np.linalg.det(cell))) / n_atoms
    if not volume >= _MIN_VOLUME:
        raise StructureError(
            f"{name} has a cell of {volume:.3g} Å³ per atom: vectors are missing or dependent, or "
            "their unit is not Å"
        )


def _partial_pbc(name: str, pbc: object) -> str:
    flags = " ".join("T" if flag else "F" for flag in np.asarray(pbc))
    return (
        f"{name} is periodic in some directions only (pbc {flags}): plane-wave codes repeat it in "
        "all three. For a slab or a wire give a cell with at least 15 Å of vacuum in the other "
        'directions and say `periodic: true` (pbc="T T T")'
    )


def _check_distances(structure: Structure | Molecule, smallest: float, name: str) -> None:
    if isinstance(structure, Molecule):
        pairs = cKDTree(structure.cart_coords).query_pairs(smallest, output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        distances = np.linalg.norm(
            structure.cart_coords[first] - structure.cart_coords[second], axis=1
        )
    else:
        first, second, _, distances = structure.get_neighbor_list(smallest, exclude_self=True)
    if len(distances) == 0:
        return
    i, j, distance = int(first[0]), int(second[0]), float(distances[0])
    what = (
        f"atoms {min(i, j) + 1} and {max(i, j) + 1} ({_symbol(structure[i].specie)}, "
        f"{_symbol(structure[j].specie)})"
        if i != j
        else f"atom {i + 1} and its own image"
    )
    raise StructureError(
        f"{name}: {what} are {distance:.3g} Å apart, on top of each other: remove duplicates, and "
        "check the unit (Å) and whether coordinates are fractional or Cartesian"
    )


def from_atoms(atoms: Atoms) -> Structure | Molecule:
    """Return a Structure, or a Molecule if no direction is periodic.

    Constraints, velocities and results are left behind.

    Parameters
    ----------
    atoms
        Periodic in all directions or in none.

    Returns
    -------
    Structure or Molecule
        Positions in Å; sites in the order of the atoms.

    Raises
    ------
    StructureError
        If only some directions are periodic.

    Examples
    --------
    >>> from ase.build import bulk, molecule
    >>> type(from_atoms(bulk("Cu"))).__name__, type(from_atoms(molecule("H2O"))).__name__
    ('Structure', 'Molecule')
    """
    plain = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    if plain.pbc.any():
        return AseAtomsAdaptor.get_structure(plain)
    return Molecule(plain.get_chemical_symbols(), plain.positions)


def read_structure(
    path: str | Path, periodic: bool | None = None, *, max_atoms: int | None = MAX_ATOMS
) -> Structure | Molecule:
    """Read a structure from any format that ASE knows, and check it.

    Parameters
    ----------
    path
        The file; ``file@3`` takes configuration 3 (from 0) and ``file@-1`` the last one of a file
        with several.
    periodic
        Overrides what the file says; needed if it has a cell but no periodic direction, or only
        some.
    max_atoms
        See `check_structure`.

    Returns
    -------
    Structure or Molecule
        Positions in Å; sites in the order of the file.

    Raises
    ------
    StructureError
        If the file is not there, is empty, cannot be read, holds several configurations, leaves
        open whether it is a crystal, or holds a structure that `check_structure` refuses.

    Examples
    --------
    >>> from ase.build import bulk
    >>> bulk("Cu", cubic=True).write("copper.vasp")
    >>> read_structure("copper.vasp").formula
    'Cu4'
    """
    file, frame = _find(path)
    _refuse_impossible_number(file)
    atoms = _read_frame(file, frame)
    if len(atoms) == 0:
        raise StructureError(f"{file} holds no structure: it has no atoms")
    # pymatgen takes minutes for a million atoms
    _check_number(len(atoms), max_atoms, str(file))
    _refuse_swallowed_keys(file, atoms)
    _refuse_partial_occupancies(file, atoms)
    # before anything asks for the rank of the cell
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"{file} has a cell that is nan or infinite")
    if periodic is not None:
        if periodic and atoms.cell.rank < 3:
            raise StructureError(f"{file} has no cell, so it cannot be periodic")
        atoms.pbc = periodic
    elif atoms.cell.rank == 3 and not atoms.pbc.any():
        # Published xyz files often say pbc="F F F" for crystals: guessing would be silent.
        raise StructureError(
            f"{file} has a cell but says that no direction is periodic: set `periodic: true` for "
            "a crystal or `periodic: false` for a molecule in a box"
        )
    if atoms.pbc.any() and not atoms.pbc.all():
        raise StructureError(_partial_pbc(str(file), atoms.pbc))
    if atoms.pbc.any():
        _check_cell(atoms.cell.array, len(atoms), str(file))
    structure = from_atoms(atoms)
    check_structure(structure, max_atoms=max_atoms, name=str(file))
    return structure


def _find(path: str | Path) -> tuple[Path, int | None]:
    """Return a file and the number of the configuration that is asked for."""
    file, frame = Path(path), None
    try:
        if not file.exists() and (named := _FRAME.fullmatch(str(path))):
            file, frame = Path(named[1]), int(named[2])
        # also keeps ASE from reading the terminal, databases and devices
        if not file.is_file():
            what = "is a directory" if file.is_dir() else "is not there, or is no file"
            raise StructureError(f"{file} {what}: give the file of a structure")
        if file.stat().st_size == 0:
            raise StructureError(f"{file} is empty")
    except OSError as error:  # a name that is too long, a folder that may not be read
        name = str(file) if len(str(file)) < 200 else f"{str(file)[:200]}…"
        raise StructureError(f"{name} cannot be read: {error.strerror}") from error
    return file, frame


def _refuse_impossible_number(file: Path) -> None:
    """Refuse an xyz file whose first line promises more atoms than it can hold.

    ASE's readers would count up to that number.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.readline(400).strip()
    if first.isdigit() and int(first) > size:
        raise StructureError(
            f"{file} cannot be read as a structure: its first line promises {first.decode()} "
            f"atoms, and it has {size} bytes"
        )


def _read_frame(file: Path, frame: int | None) -> Atoms:
    try:
        if frame is not None:
            frames = list(ase.io.iread(file, index=":", do_not_split_by_at_sign=True))
        else:
            every = ase.io.iread(file, index=":", do_not_split_by_at_sign=True)
            frames = list(itertools.islice(every, 2))
    except UnicodeDecodeError as error:
        raise StructureError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}): convert it, for "
            "instance with `iconv -f latin1 -t utf-8`"
        ) from error
    except Exception as error:  # ASE's readers raise whatever they like
        raise StructureError(
            f"{file} cannot be read as a structure: {type(error).__name__}: {error}"
        ) from error
    if not frames:
        raise StructureError(f"{file} holds no structure")
    if frame is None and len(frames) > 1:
        raise StructureError(
            f"{file} holds several configurations: name one, such as {file}@0 for the first or "
            f"{file}@-1 for the last"
        )
    try:
        return frames[frame or 0]
    except IndexError:
        raise StructureError(
            f"{file} holds {len(frames)} configurations, and there is no number {frame} among them"
        ) from None


def _refuse_swallowed_keys(file: Path, atoms: Atoms) -> None:
    for key, value in atoms.info.items():
        if isinstance(value, str) and (lost := _SWALLOWED.match(value)):
            raise StructureError(
                f"{file}: the value of {key!r} in the header is empty, and so swallows the "
                f"{lost[1]} after it: remove {key!r} from the header, or give it a value"
            )


def _refuse_partial_occupancies(file: Path, atoms: Atoms) -> None:
    occupancy = atoms.info.get("occupancy")
    shares = occupancy.values() if isinstance(occupancy, dict) else ()
    partial = any(
        isinstance(share, dict) and (len(share) != 1 or abs(sum(share.values()) - 1.0) > 1e-3)
        for share in shares
    )
    # the occupancies of PDB files
    listed = np.asarray(atoms.arrays.get("occupancy", 1.0), dtype=float)
    if partial or (np.abs(listed - 1.0) > 1e-3).any():
        raise StructureError(
            f"{file} has partial occupancies: choose an ordered structure, for instance with "
            "pymatgen's OrderDisorderedStructureTransformation"
        )
