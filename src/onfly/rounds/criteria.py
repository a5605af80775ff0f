"""The tolerances of a run as criteria, and the errors of a label in units of them."""

from __future__ import annotations

import inspect
import math
from importlib import import_module

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from onfly.dynamics.criteria import (
    AnyOf,
    Criterion,
    EnergyCriterion,
    ForceCriterion,
    StressCriterion,
)
from onfly.dynamics.criterion_plugins import Watching, named_criterion
from onfly.schemas import PosteriorDoc
from onfly.spec import Tolerance

__all__ = ["atoms_of", "criterion_of", "error_ratios", "tolerance_in_cell"]


def tolerance_in_cell(tolerance: Tolerance, n_atoms: int) -> float:
    """Return a tolerance for the cell: energies per atom times the number of atoms."""
    return tolerance.value * (n_atoms if tolerance.quantity == "energy_per_atom" else 1)


def atoms_of(tolerance: Tolerance, atoms: Atoms) -> tuple[int, ...]:
    """Return the atoms whose forces a tolerance limits.

    Raises
    ------
    ValueError
        If it selects none, a site does not exist, or the function of a region cannot be used.
    """
    if tolerance.species is not None:
        known = set(atoms.get_chemical_symbols())
        if missing := sorted(set(tolerance.species) - known):
            raise ValueError(
                f"tolerance {tolerance.name}: the structure has no {', '.join(missing)}; it has "
                f"{', '.join(sorted(known))}"
            )
        wanted = {atomic_numbers[symbol] for symbol in tolerance.species}
        return tuple(int(i) for i, number in enumerate(atoms.numbers) if number in wanted)
    if tolerance.sites is not None:
        if max(tolerance.sites) >= len(atoms):
            raise ValueError(
                f"tolerance {tolerance.name}: site {max(tolerance.sites)} does not exist; the "
                f"structure has {len(atoms)} atoms, counted from 0"
            )
        return tolerance.sites
    if tolerance.region is not None:
        return _region(tolerance.region, atoms)
    return tuple(range(len(atoms)))


def _region(name: str, atoms: Atoms) -> tuple[int, ...]:
    module, _, attribute = name.rpartition(".")
    try:
        function = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(f"region {name!r} cannot be imported: {error}") from error
    # functions of the interpreter, such as os.system, take no atoms: they are not called
    if not inspect.isfunction(function):
        raise ValueError(f"region {name!r} is no function that is written in Python")
    try:
        inside = np.asarray(function(atoms.copy()), dtype=bool)
    except Exception as error:
        raise ValueError(
            f"region {name!r} fails for this structure: {type(error).__name__}: {error}"
        ) from error
    if inside.shape != (len(atoms),) or not inside.any():
        raise ValueError(
            f"region {name!r} must return a truth value for each of the {len(atoms)} atoms, and "
            f"one at least must be true; it returned an array of shape {inside.shape}"
        )
    return tuple(int(i) for i in np.flatnonzero(inside))


def criterion_of(
    posterior: PosteriorDoc, numbers: np.ndarray, *, watch_only: bool = False
) -> Criterion:
    """Return the criterion of a run; with ``watch_only`` it never fires.

    Parameters
    ----------
    posterior
        With the tolerances, and the atoms that they are about.
    numbers
        Atomic numbers, shape (N,).
    watch_only
        For closing blocks, and for production that only warns.
    """
    found: list[Criterion] = []
    for tolerance in posterior.spec.tolerance:
        p, name = tolerance.max_probability, tolerance.name
        if tolerance.quantity == "force":
            kinds = tuple(int(number) for number in numbers)
            atoms = posterior.tolerance_atoms[name]
            found.append(ForceCriterion(tolerance.value, kinds, atoms, p, watch_only, name))
        elif tolerance.quantity == "stress":
            found.append(StressCriterion(tolerance.value, p, watch_only, name))
        else:
            value = tolerance_in_cell(tolerance, len(numbers))
            found.append(EnergyCriterion(value, p, watch_only, name))
    for other in posterior.spec.rounds.criteria:
        made = named_criterion(other.kind, other.options)
        found.append(Watching(made) if watch_only else made)
    return found[0] if len(found) == 1 else AnyOf(found)


def error_ratios(
    posterior: PosteriorDoc,
    energy_error: float,
    force_errors: np.ndarray,
    stress_errors: np.ndarray | None = None,
) -> dict[str, float]:
    """Return the largest error over each tolerance.

    Parameters
    ----------
    posterior
        With the tolerances.
    energy_error
        eV, of the cell.
    force_errors
        eV/Å, shape (N, 3).
    stress_errors
        eV/Å³, shape (3, 3); where they are unknown, so is whether a tolerance of them was kept.
    """
    found = {}
    for tolerance in posterior.spec.tolerance:
        if tolerance.quantity == "force":
            chosen = list(posterior.tolerance_atoms[tolerance.name])
            largest = float(np.linalg.norm(force_errors[chosen], axis=1).max())
            found[tolerance.name] = largest / tolerance.value
        elif tolerance.quantity == "stress":
            largest = math.nan if stress_errors is None else float(np.abs(stress_errors).max())
            found[tolerance.name] = largest / tolerance.value
        elif tolerance.quantity.startswith("energy"):
            value = tolerance_in_cell(tolerance, len(force_errors))
            found[tolerance.name] = abs(energy_error) / value
    return found
