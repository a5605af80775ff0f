"""What a production run watches: the tolerances of its model, in the cell that it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ase import Atoms

from onfly.rounds.criteria import atoms_of, tolerance_in_cell
from onfly.schemas import FineTunedModelDoc, PosteriorDoc
from onfly.spec import Tolerance

__all__ = ["Watched", "watched"]


@dataclass(frozen=True)
class Watched:
    """Tolerances of a production run.

    Parameters
    ----------
    tolerances
        In the order of the model's.
    atoms
        By name of a tolerance of forces, the atoms that it is about.
    threshold
        Smallest tolerance of the energy in eV for the whole cell; None without one.
    """

    tolerances: tuple[Tolerance, ...]
    atoms: dict[str, tuple[int, ...]]
    threshold: float | None


def watched(
    model: FineTunedModelDoc | PosteriorDoc,
    tolerances: Sequence[Tolerance],
    atoms: Atoms,
    *,
    size: float,
    threshold: float | None,
    max_probability: float,
) -> Watched:
    """Return the tolerances of a model for a production run.

    Parameters
    ----------
    model
        The model, with the atoms that its tolerances of forces are about.
    tolerances
        Of its run.
    atoms
        Where the production run starts.
    size
        Number of its atoms over that of the model's cell.
    threshold
        eV for the whole cell: replaces the model's tolerances of energies.
    max_probability
        Of an error above a tolerance.

    Raises
    ------
    ValueError
        If a tolerance means nothing in a cell of another size.
    """
    found: list[Tolerance] = []
    for tolerance in tolerances:
        if not tolerance.quantity.startswith("energy"):
            found.append(tolerance)
        elif threshold is None:
            if tolerance.quantity == "energy" and size != 1:
                raise ValueError(
                    f"the model's threshold is that of {round(len(atoms) / size)} atoms, the "
                    f"structure has {len(atoms)}: give the threshold (eV) for the whole of this "
                    "cell"
                )
            found.append(tolerance)
    if threshold is not None:
        found.insert(0, Tolerance(quantity="energy", value=threshold))
    found = [t.evolve(max_probability=max_probability) for t in found]
    energies = [tolerance_in_cell(t, len(atoms)) for t in found if t.quantity.startswith("energy")]
    return Watched(
        tolerances=tuple(found),
        atoms={t.name: _chosen(t, model, atoms, size) for t in found if t.quantity == "force"},
        threshold=min(energies) if energies else None,
    )


def _chosen(
    tolerance: Tolerance, model: FineTunedModelDoc | PosteriorDoc, atoms: Atoms, size: float
) -> tuple[int, ...]:
    if tolerance.sites is None and tolerance.region is None:
        return atoms_of(tolerance, atoms)
    # the function of a region is not called: its name comes from a document
    known = model.tolerance_atoms.get(tolerance.name, tolerance.sites)
    if size != 1 or known is None:
        raise ValueError(
            f"tolerance {tolerance.name} is about atoms of the model's cell by their numbers, "
            f"which mean nothing in a cell of {len(atoms)} atoms: fine-tune with `species` instead"
        )
    return tuple(known)
