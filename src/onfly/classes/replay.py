"""Configurations on which a fit keeps what the foundation knew: other crystals, and the wall.

Crystals are simple structure types filled with other elements, at the volume where the foundation
has the lowest energy, then strained and displaced. The wall are two atoms closer than a bond.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii

from onfly.potentials import Potential
from onfly.seeds import numpy_stream

__all__ = ["unrelated_crystals", "wall_pairs"]

# neighbours in these touch at this part of the lattice constant
TYPES = {
    "fcc": 2**-0.5,
    "bcc": 3**0.5 / 2,
    "rocksalt": 0.5,
    "cesiumchloride": 3**0.5 / 2,
    "zincblende": 3**0.5 / 4,
    "fluorite": 3**0.5 / 4,
}
SCALES = (0.92, 0.98, 1.04, 1.10, 1.17)
# parts of the sum of the covalent radii
WALL = (0.6, 0.7, 0.8, 0.9)
MOST_PAIRS = 60  # of elements: a class of thirty elements has 465
BOX = 12.0  # Å: two atoms, and their images out of reach of most cutoffs
_NOT_TAKEN = {"He", "Ne", "Ar", "Kr", "Xe", "Rn", "Po", "At", "Fr", "Ra", "Tc", "Pm"}
_LAST = 83
# Å: of shorter bonds the cells are so small that a single one costs as much as a hundred others
SHORTEST_BOND = 1.9


def wall_pairs(elements: Sequence[str], parts: Sequence[float] = WALL) -> list[Atoms]:
    """Return two atoms at short distances, for pairs of elements.

    Of more than `MOST_PAIRS` pairs so many are drawn, the same ones each time.

    Parameters
    ----------
    elements
        Chemical symbols.
    parts
        Distances, as parts of the sum of the covalent radii.

    Returns
    -------
    list of ase.Atoms
        In a cubic box, pair after pair from the shortest distance.
    """
    found = []
    pairs = list(combinations_with_replacement(sorted(elements), 2))
    if len(pairs) > MOST_PAIRS:
        chosen = numpy_stream("class", "wall").choice(len(pairs), MOST_PAIRS, replace=False)
        pairs = [pairs[k] for k in sorted(chosen)]
    for pair in pairs:
        bond = sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
        for part in parts:
            positions = np.array([[0.0, 0.0, 0.0], [part * bond, 0.0, 0.0]])
            found.append(Atoms(list(pair), positions, cell=[BOX] * 3, pbc=True))
    return found


def unrelated_crystals(
    potential: Potential,
    n: int,
    avoid: Sequence[str],
    seed_key: tuple[str | int, ...],
    *,
    not_these: Sequence[Atoms] = (),
) -> list[Atoms]:
    """Return crystals that have no two elements of a class together.

    Parameters
    ----------
    potential
        The foundation, which tells the volume.
    n
        How many.
    avoid
        Elements of the class: at most one of them is in a crystal.
    seed_key
        Names the random stream.
    not_these
        Crystals whose composition must not come again.
    """
    stream = numpy_stream(*seed_key)
    known = [e for e in potential.elements if atomic_numbers[e] <= _LAST and e not in _NOT_TAKEN]
    taken = {atoms.get_chemical_formula() for atoms in not_these}
    found: list[Atoms] = []
    for _ in range(50 * n):
        if len(found) == n:
            break
        kind = str(stream.choice(list(TYPES)))
        count = 1 if kind in ("fcc", "bcc") else 2
        if len(known) < count:
            continue
        symbols = [str(s) for s in stream.choice(known, count, replace=False)]
        strain, noise = stream.normal(0, 0.01, (3, 3)), stream.normal(0, 1.0, (8, 3))
        size = stream.uniform(0.03, 0.12)
        atoms = None if len(set(symbols) & set(avoid)) > 1 else _crystal(kind, symbols)
        if atoms is None or (formula := atoms.get_chemical_formula()) in taken:
            continue
        taken.add(formula)
        best = _best_volume(potential, atoms)
        best.set_cell(best.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        best.positions += size * noise[: len(best)]
        found.append(best)
    return found


def _crystal(kind: str, symbols: Sequence[str]) -> Atoms | None:
    bond = sum(covalent_radii[atomic_numbers[s]] for s in symbols) * (3 - len(symbols))
    if bond < SHORTEST_BOND:
        return None
    constant = bond / TYPES[kind]
    name = symbols[0] if len(symbols) == 1 else "".join(symbols)
    if kind == "fluorite":
        name += "2"
    try:
        made = bulk(name, kind, a=constant)
    except (ValueError, RuntimeError, KeyError):  # ASE knows no such crystal
        return None
    made = made * (2, 1, 1) if len(made) == 1 else made
    return Atoms(made.numbers, made.positions, cell=made.cell.array, pbc=True)


def _best_volume(potential: Potential, atoms: Atoms) -> Atoms:
    scaled = []
    for scale in SCALES:
        other = atoms.copy()
        other.set_cell(atoms.cell.array * scale, scale_atoms=True)
        scaled.append(other)
    batch = potential.collate([potential.graph(a) for a in scaled])
    energies = potential.evaluate(potential.parameters(), batch, forces=False).energy
    best: Atoms = scaled[int(np.argmin(energies.detach().cpu().numpy()))]
    return best
