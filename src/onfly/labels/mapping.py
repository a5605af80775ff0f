"""Bringing the sites of a calculation back to the order in which they were asked for.

VASP's and CP2K's input sets of pymatgen sort the sites by electronegativity.
"""

from __future__ import annotations

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.labels.errors import LabelError

__all__ = ["site_order"]


def _symbols(structure: Structure | Molecule) -> np.ndarray:
    """Return chemical symbols, without oxidation states and spins that input sets add."""
    return np.array([getattr(s.specie, "symbol", str(s.specie)) for s in structure])


def site_order(
    requested: Structure | Molecule, computed: Structure | Molecule, tolerance: float = 1e-4
) -> np.ndarray:
    """Find for each requested site the computed one: ``computed[order[i]]`` is ``requested[i]``.

    Parameters
    ----------
    requested
        What was asked for.
    computed
        What was calculated; the same atoms in any order, in any periodic image.
    tolerance
        Largest allowed difference of lattice vectors and positions in Å.

    Returns
    -------
    numpy.ndarray
        Permutation, shape (N,).

    Raises
    ------
    LabelError
        If kind, number of atoms, species, cell or positions differ.
    """
    if type(requested).__name__ != type(computed).__name__:
        raise LabelError(
            f"a {type(requested).__name__} was asked for, a {type(computed).__name__} calculated"
        )
    if len(requested) != len(computed):
        raise LabelError(f"{len(requested)} atoms were asked for, {len(computed)} calculated")
    ours, theirs = _symbols(requested), _symbols(computed)
    if sorted(ours) != sorted(theirs):
        raise LabelError(
            f"{requested.composition.formula} was asked for, "
            f"{computed.composition.formula} calculated"
        )
    if isinstance(requested, Structure) and isinstance(computed, Structure):
        change = np.abs(requested.lattice.matrix - computed.lattice.matrix).max()
        if not change <= tolerance:
            raise LabelError(
                f"the cell of the calculation differs by {change:.2g} Å from the one asked for",
                remedy="the labeller must not relax, standardise or reduce the cell",
            )

    order = np.full(len(requested), -1)
    for symbol in sorted(set(ours)):
        rows, columns = np.flatnonzero(ours == symbol), np.flatnonzero(theirs == symbol)
        # input sets sort by element and leave the order within one element as it is
        if (_distances(requested, computed, rows, columns) <= tolerance).all():
            order[rows] = columns
            continue
        found, worst = _nearest(requested, computed, rows, columns)
        if not worst <= tolerance or len(set(found)) != len(rows):
            raise LabelError(
                f"the positions of {symbol} atoms differ by up to {worst:.2g} Å "
                "from those asked for",
                remedy="the labeller must make a single point (no relaxation, no symmetrisation)",
            )
        order[rows] = found
    return order


def _distances(
    requested: Structure | Molecule,
    computed: Structure | Molecule,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return the distances of pairs in Å; rows and columns broadcast."""
    if isinstance(requested, Structure) and isinstance(computed, Structure):
        delta = requested.frac_coords[rows] - computed.frac_coords[columns]
        # rounding finds the right image for the short distances that matter here
        vectors = (delta - np.round(delta)) @ requested.lattice.matrix
    else:
        vectors = requested.cart_coords[rows] - computed.cart_coords[columns]
    return np.linalg.norm(vectors, axis=-1)


def _nearest(
    requested: Structure | Molecule,
    computed: Structure | Molecule,
    rows: np.ndarray,
    columns: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Return for each row the nearest column, and the largest of these distances in Å."""
    found, worst = np.empty(len(rows), dtype=int), 0.0
    # in pieces, so that the table of distances stays small also for large cells
    size = max(1, 4_000_000 // len(columns))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        table = _distances(requested, computed, part[:, None], columns[None])
        found[start : start + size] = columns[table.argmin(axis=1)]
        worst = max(worst, float(table.min(axis=1).max()))
    return found, worst
