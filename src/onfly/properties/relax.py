"""The cell in which properties are measured: relaxed, primitive, with its symmetry kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

__all__ = ["NotRelaxedError", "primitive_cell", "relaxed", "supercell_size"]

# Å, within which the atoms of a relaxed cell are taken to be equivalent
SYMPREC = 0.03
MAX_STEPS = 500


class NotRelaxedError(RuntimeError):
    """A structure did not come to rest.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> relaxed(bulk("Cu", a=3.9), EMT(), fmax=1e-6, max_steps=1)
    Traceback (most recent call last):
        ...
    onfly.properties.relax.NotRelaxedError: ...
    """


def relaxed(
    atoms: Atoms,
    calculator: Calculator,
    *,
    fmax: float,
    cell: bool = True,
    keep_symmetry: bool = True,
    max_steps: int = MAX_STEPS,
) -> Atoms:
    """Return a relaxed copy, with the calculator attached.

    Parameters
    ----------
    atoms
        Periodic.
    calculator
        Energies, forces and stress.
    fmax
        Largest force, and virial over the number of atoms, in eV/Å.
    cell
        Whether the cell relaxes too.
    keep_symmetry
        Keep the symmetry of `atoms`, which rounding would otherwise break.
    max_steps
        Of the optimizer.

    Returns
    -------
    Atoms
        At rest.

    Raises
    ------
    NotRelaxedError
        If it is not at rest after that many steps.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> f"{relaxed(bulk('Cu', a=3.7), EMT(), fmax=0.001).get_volume():.1f} Å³"
    '11.6 Å³'
    """
    found = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=True)
    found.calc = calculator
    if keep_symmetry:
        found.set_constraint(FixSymmetry(found, symprec=1e-3, verbose=False))
    target: Any = FrechetCellFilter(found) if cell else found
    with BFGS(target, logfile=None) as optimizer:
        converged = optimizer.run(fmax=fmax, steps=max_steps)
    if not converged:
        raise NotRelaxedError(
            f"{found.get_chemical_formula()} is not relaxed after {max_steps} steps (forces below "
            f"{fmax:g} eV/Å were asked for): start from a structure nearer to a minimum, or raise "
            "`properties.fmax`"
        )
    found.set_constraint()
    return found


def primitive_cell(atoms: Atoms, symprec: float = SYMPREC) -> Atoms:
    """Return the standardised primitive cell of a crystal, idealised.

    Parameters
    ----------
    atoms
        Periodic.
    symprec
        Å.

    Returns
    -------
    Atoms
        Without a calculator.

    Raises
    ------
    ValueError
        If the atoms are not periodic, or spglib finds no cell.

    Examples
    --------
    >>> from ase.build import bulk
    >>> len(primitive_cell(bulk("Cu", cubic=True) * 2))
    1
    """
    if not atoms.pbc.all():
        raise ValueError("properties of crystals need a cell that is periodic in all directions")
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=False, symprec=symprec)
    if found is None:
        raise ValueError(f"spglib finds no primitive cell of {atoms.get_chemical_formula()}")
    lattice, positions, numbers = found
    return Atoms(numbers, scaled_positions=positions, cell=lattice, pbc=True)


def supercell_size(atoms: Atoms, min_length: float) -> tuple[int, int, int]:
    """Return how often a cell is repeated so that every vector is at least so long (Å).

    Parameters
    ----------
    atoms
        The cell.
    min_length
        Å.

    Returns
    -------
    tuple of int
        Along each vector of the cell.

    Examples
    --------
    >>> from ase.build import bulk
    >>> supercell_size(bulk("Cu", cubic=True), 8.0)
    (3, 3, 3)
    """
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    a, b, c = np.ceil(min_length / lengths - 1e-6).astype(int).clip(1)
    return int(a), int(b), int(c)
