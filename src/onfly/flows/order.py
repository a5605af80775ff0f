"""The order of a campaign that learns: each compound is the one farthest from those before it.

What a compound can teach is not known before it has run; how much it differs from the others is.
Distances are between the fractions of elements, and between averages and ranges of their
electronegativity, covalent radius, group and period, and the volume per atom.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Element, Molecule, Structure

__all__ = ["diverse_order", "features"]


def features(structure: Structure | Molecule) -> np.ndarray:
    """Return numbers that describe a compound, shape (9,)."""
    symbols = [Element(_symbol(site.specie)) for site in structure]
    table = np.array(
        [[_negativity(e), covalent_radii[e.Z], float(e.group), float(e.row)] for e in symbols]
    )
    volume = structure.volume if isinstance(structure, Structure) else float("nan")
    length = (volume / len(structure)) ** (1 / 3) if np.isfinite(volume) else 0.0
    return np.concatenate([table.mean(0), table.max(0) - table.min(0), [length]])


def diverse_order(structures: Mapping[str, Structure | Molecule]) -> list[str]:
    """Return names of compounds, the most typical first, then always the farthest from all before.

    Parameters
    ----------
    structures
        By name. The order does not depend on theirs.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> def salt(a, *kinds):
    ...     return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), kinds, [[0] * 3, [0.5] * 3])
    >>> cells = {"NaCl": salt(5.6, "Na", "Cl"), "KCl": salt(6.3, "K", "Cl"),
    ...          "MgO": salt(4.2, "Mg", "O")}
    >>> diverse_order(cells)
    ['NaCl', 'MgO', 'KCl']
    """
    names = sorted(structures)
    numbers = np.array([features(structures[name]) for name in names])
    spread = numbers.std(0)
    numbers = (numbers - numbers.mean(0)) / np.where(spread > 1e-12, spread, 1.0)
    x = np.concatenate([numbers / np.sqrt(numbers.shape[1]), _fractions(structures, names)], axis=1)
    first = int(np.argmin(np.square(x - x.mean(0)).sum(1)))
    order, distance = [first], np.square(x - x[first]).sum(1)
    while len(order) < len(names):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.square(x - x[order[-1]]).sum(1))
    return [names[k] for k in order]


def _fractions(structures: Mapping[str, Structure | Molecule], names: list[str]) -> np.ndarray:
    amounts = [
        structures[name].composition.fractional_composition.get_el_amt_dict() for name in names
    ]
    elements = sorted({element for cell in amounts for element in cell})
    return np.array([[cell.get(element, 0.0) for element in elements] for cell in amounts])


def _symbol(specie: object) -> str:
    return str(getattr(specie, "element", specie))


def _negativity(element: Element) -> float:
    value = float(element.X)
    return value if np.isfinite(value) else 0.0
