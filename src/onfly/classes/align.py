"""Energy scales of elements and compounds: least squares on the foundation's own predictions.

Energies of the labeller and of the foundation differ by a constant for each element, and by what
is special to a compound. With x_ce the fraction of element e in compound c, and d_c the mean of
foundation minus label energy per atom over its labels::

    minimise  Σ_c (d_c − Σ_e x_ce s_e)² + ridge Σ_e (s_e − d̄)²

Each compound counts once, however many labels it has. What the shifts s_e leave of d_c stays with
the compound as its offset, so that the fit has only differences within a compound to learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Alignment", "align"]


@dataclass(frozen=True)
class Alignment:
    """Foundation minus label energy.

    Parameters
    ----------
    per_element
        Of one atom by element, eV.
    per_compound
        What is left, by compound, eV/atom.
    """

    per_element: Mapping[str, float]
    per_compound: Mapping[str, float]

    def of(self, counts: Mapping[str, int], compound: str) -> float:
        """Return foundation minus label energy of a cell in eV.

        Parameters
        ----------
        counts
            Number of atoms of each element.
        compound
            One of those that were aligned.
        """
        shifts = sum(n * self.per_element[element] for element, n in counts.items())
        return shifts + sum(counts.values()) * self.per_compound[compound]


def align(
    counts: Sequence[Mapping[str, int]],
    compounds: Sequence[str],
    differences: Sequence[float],
    ridge: float = 1e-3,
) -> Alignment:
    """Fit the shifts.

    Parameters
    ----------
    counts
        Number of atoms of each element, of every label.
    compounds
        Name of each label's compound.
    differences
        Foundation minus label energy of each label, eV.
    ridge
        Weight of the pull of the shifts towards their common mean.

    Raises
    ------
    ValueError
        If the lists differ in length or are empty.

    Examples
    --------
    >>> found = align([{"Na": 4, "Cl": 4}, {"K": 4, "Cl": 4}], ["NaCl", "KCl"], [8.0, 16.0])
    >>> round(found.of({"Na": 1, "Cl": 1}, "NaCl"), 6)
    2.0
    """
    n = len(counts)
    if n == 0 or not n == len(compounds) == len(differences):
        raise ValueError("need as many compositions and compounds as differences, at least one")
    elements = sorted({element for cell in counts for element in cell})
    fractions = np.array(
        [[cell.get(e, 0) / sum(cell.values()) for e in elements] for cell in counts]
    )
    per_atom = np.array(
        [d / sum(cell.values()) for d, cell in zip(differences, counts, strict=True)]
    )
    names = sorted(set(compounds))
    where = np.array([names.index(name) for name in compounds])
    mean = np.array([per_atom[where == k].mean() for k in range(len(names))])
    x = np.array([fractions[where == k].mean(0) for k in range(len(names))])
    center = mean.mean()
    normal = x.T @ x + ridge * np.eye(len(elements))
    shifts = center + np.linalg.solve(normal, x.T @ (mean - center))
    rest = mean - x @ shifts
    return Alignment(
        dict(zip(elements, shifts.tolist(), strict=True)),
        dict(zip(names, rest.tolist(), strict=True)),
    )
