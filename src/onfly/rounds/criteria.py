"""The tolerances of a run as criteria."""

from __future__ import annotations

from onfly.dynamics.criteria import AnyOf, Criterion, EnergyCriterion
from onfly.schemas import PosteriorDoc
from onfly.spec import Tolerance

__all__ = ["criterion_of", "tolerance_in_cell"]


def tolerance_in_cell(tolerance: Tolerance, n_atoms: int) -> float:
    """Return a tolerance for the cell: energies per atom times the number of atoms."""
    return tolerance.value * (n_atoms if tolerance.quantity == "energy_per_atom" else 1)


def criterion_of(posterior: PosteriorDoc, *, watch_only: bool = False) -> Criterion:
    """Return the criterion of a run; with ``watch_only`` it never fires.

    Raises
    ------
    ValueError
        If a quantity has no criterion.
    """
    found: list[Criterion] = []
    for tolerance in posterior.spec.tolerance:
        if not tolerance.quantity.startswith("energy"):
            raise ValueError(f"there is no criterion for the quantity {tolerance.quantity!r}")
        found.append(
            EnergyCriterion(
                tolerance_in_cell(tolerance, posterior.nsites or 1),
                tolerance.max_probability,
                watch_only,
                tolerance.name,
            )
        )
    return found[0] if len(found) == 1 else AnyOf(found)
