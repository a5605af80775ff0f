"""What a fit has changed where nothing was to be learned, and how errors of a set are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from onfly.classes.document import BreadthDoc
from onfly.classes.examples import Example, predict, rms
from onfly.classes.replay import WALL
from onfly.potentials import Params, Potential

__all__ = ["errors_of", "measure_breadth"]


def errors_of(
    examples: Sequence[Example], predictions: Sequence[Example]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return errors of energies (eV/atom, mean of each compound removed) and of forces (eV/Å)."""
    energies = np.array(
        [(p.energy - e.energy) / len(e.atoms) for e, p in zip(examples, predictions, strict=True)]
    )
    names = np.array([e.compound for e in examples])
    for name in set(names.tolist()):
        energies[names == name] -= energies[names == name].mean()
    forces = [p.forces - e.forces for e, p in zip(examples, predictions, strict=True)]
    return energies, forces


def measure_breadth(
    potential: Potential,
    params: Params,
    crystals: Sequence[Atoms],
    wall: Sequence[Atoms],
    given: Sequence[Example] = (),
) -> BreadthDoc:
    """Compare fitted weights with the foundation's.

    Parameters
    ----------
    potential
        The foundation.
    params
        The fitted weights.
    crystals
        Unrelated, none of the replay.
    wall
        Of `wall_pairs`, with its default distances.
    given
        Labels of unrelated structures, as the user gave them.
    """
    own = potential.parameters()
    before, after = predict(potential, own, crystals), predict(potential, params, crystals)
    changes = [(a.energy - b.energy) / len(b.atoms) for a, b in zip(after, before, strict=True)]
    rises, rises_after = _rises(potential, own, wall), _rises(potential, params, wall)
    rising = rises > 0
    doc = BreadthDoc(
        n_structures=len(crystals),
        force_rms=rms([b.forces for b in before]),
        force_change=rms([a.forces - b.forces for a, b in zip(after, before, strict=True)]),
        energy_change=rms([np.array(changes)]) if changes else 0.0,
        n_wall=len(wall),
        wall_energy_change=rms([rises_after - rises]) if len(wall) else None,
        wall_kept=float(np.mean(rises_after[rising] > 0)) if rising.any() else None,
        given=len(given),
    )
    if not given:
        return doc
    atoms = [e.atoms for e in given]
    (energy0, forces0), (energy1, forces1) = (
        errors_of(given, predict(potential, weights, atoms)) for weights in (own, params)
    )
    return doc.model_copy(
        update={
            "given_force_rmse_before": rms(forces0),
            "given_force_rmse": rms(forces1),
            "given_energy_rmse_before": rms([energy0]),
            "given_energy_rmse": rms([energy1]),
        }
    )


def _rises(potential: Potential, params: Params, wall: Sequence[Atoms]) -> np.ndarray:
    """Return by how much the energy of each pair rises from each distance to the shorter one."""
    energies = np.array([e.energy for e in predict(potential, params, wall)])
    return -np.diff(energies.reshape(-1, len(WALL)), axis=1)
