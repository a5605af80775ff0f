"""A path between two minima on the posterior mean: ASE's nudged elastic band."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.mep import NEB

from onfly.dynamics.correction import CorrectedCalculator, anchor_arrays, shift_of
from onfly.dynamics.guards import Guards
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.relax_optimizers import build_optimizer
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState

__all__ = ["Band", "interpolated", "move_band", "path_lengths"]

logger = logging.getLogger(__name__)

# the highest image begins to climb when the forces on the band are this many times `fmax`
CLIMB_AT = 4.0


def interpolated(first: Atoms, last: Atoms, n_images: int) -> list[Atoms]:
    """Return images between two configurations, by the image-dependent pair potential (IDPP).

    Parameters
    ----------
    first, last
        The ends, with the same atoms in the same order and the same cell.
    n_images
        With the ends, at least 3.

    Raises
    ------
    ValueError
        If the ends do not belong to one path.

    Examples
    --------
    >>> from ase.build import bulk
    >>> first = bulk("Cu", cubic=True) * (2, 1, 1)
    >>> del first[0]
    >>> last = first.copy()
    >>> last.positions[0] = (0.0, 0.0, 0.0)
    >>> len(interpolated(first, last, 5))
    5
    """
    _check_ends(first, last, n_images)
    images = [_bare(first) for _ in range(n_images - 1)] + [_bare(last)]
    if first.pbc.any():  # along the shortest way, which need not lie in one cell
        moved, _ = find_mic(last.positions - first.positions, first.cell, first.pbc)
        images[-1].positions = first.positions + moved
    band = NEB(images, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate(method="idpp")
    return [_bare(image) for image in images]


def _check_ends(first: Atoms, last: Atoms, n_images: int) -> None:
    if n_images < 3:
        raise ValueError(f"a path has at least 3 images, the two ends included, not {n_images}")
    if not np.array_equal(first.numbers, last.numbers):
        raise ValueError(
            "the ends of a path must have the same atoms in the same order: "
            f"{first.get_chemical_formula()} and {last.get_chemical_formula()}, or another order"
        )
    if not np.allclose(first.cell.array, last.cell.array, atol=1e-6):
        raise ValueError("the ends of a path must have the same cell: its images do not change it")
    shift, _ = find_mic(last.positions - first.positions, first.cell, first.pbc)
    if np.abs(shift).max() < 1e-3:
        raise ValueError("the ends of a path are the same configuration")


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)


def path_lengths(images: Sequence[Atoms]) -> np.ndarray:
    """Return the length of the path up to each image in Å, shape (M,)."""
    steps = [
        float(np.linalg.norm(find_mic(b.positions - a.positions, a.cell, a.pbc)[0]))
        for a, b in pairwise(images)
    ]
    return np.concatenate([[0.0], np.cumsum(steps)])


@dataclass(frozen=True)
class Band:
    """Images after they were moved.

    Parameters
    ----------
    states
        One for each image, with the ends.
    n_steps
        Steps of the optimizer.
    converged
        Whether the forces on the band are small enough.
    saddle
        Index of the highest image between the ends.
    problem
        What a guard found, in words; the band is that of the step before.
    """

    states: tuple[MDState, ...]
    n_steps: int
    converged: bool
    saddle: int
    problem: str | None = None


def move_band(
    predictor: Predictor, states: Sequence[MDState], stage: MDStage, guards: Guards
) -> Band:
    """Move the images of a path between fixed ends until the forces on them are small.

    The result depends on the arguments only. Forces of images with an anchor are shifted (see
    `onfly.dynamics.correction`). The energies that the band is ordered by are the model's own.

    Parameters
    ----------
    predictor
        The ensemble.
    states
        One for each image.
    stage
        `fmax`, steps, optimizer, climbing, tangents, springs.
    guards
        Limits that every image keeps.
    """
    images = []
    for state in states:
        image = _bare(state.to_atoms())
        # each image keeps its own neighbour lists
        own = copy.copy(predictor)
        own._graph = None
        calculator = CorrectedCalculator(own)
        calculator.shift = shift_of(predictor, state, anchor_arrays(state), stress=False)
        image.calc = calculator
        images.append(image)
    for end in (images[0], images[-1]):  # they stay where they are
        energy = end.get_potential_energy()
        end.calc = SinglePointCalculator(end, energy=energy, forces=end.get_forces())
    n_steps, converged, problem = 0, False, None
    # an image that climbs too early leaves the path
    parts = [(False, CLIMB_AT), (True, 1.0)] if stage.climb else [(False, 1.0)]
    for climb, factor in parts:
        band = NEB(images, k=stage.spring, climb=climb, method=stage.tangent)
        taken, converged, problem = _run(band, stage, factor, guards, stage.n_steps - n_steps)
        n_steps += taken
        if problem is not None:
            break
    energies = [float(image.get_potential_energy()) for image in images]
    saddle = 1 + int(np.argmax(energies[1:-1]))
    moved = [
        state if k in (0, len(images) - 1) else _state(state, image, n_steps)
        for k, (state, image) in enumerate(zip(states, images, strict=True))
    ]
    return Band(tuple(moved), n_steps, converged and problem is None, saddle, problem)


def _run(
    band: NEB, stage: MDStage, factor: float, guards: Guards, n_steps: int
) -> tuple[int, bool, str | None]:
    """Move a band; return steps, whether it converged, and what a guard found."""
    optimizer: Any = build_optimizer(band, stage)
    for taken in range(n_steps + 1):
        forces = band.get_forces().reshape(-1, 3)
        if np.linalg.norm(forces, axis=1).max() <= factor * stage.resolved_fmax:
            return taken, True, None
        if taken == n_steps:
            break
        before = band.get_positions()
        with np.errstate(all="ignore"):
            optimizer.step()
        if (problem := _problem(band.images[1:-1], guards)) is not None:
            band.set_positions(before)
            logger.warning("the path stops after %d steps: %s", taken, problem)
            return taken, False, problem
    return n_steps, False, None


def _problem(images: Sequence[Atoms], guards: Guards) -> str | None:
    for image in images:
        zero = np.zeros_like(image.positions)
        state = MDState(
            image.numbers, image.pbc, image.positions, zero, image.cell.array, 0, 0.0, zero, None,
            "model",
        )  # fmt: skip
        if (problem := guards.check(state, None, None)) is not None:
            return problem
    return None


def _state(state: MDState, image: Atoms, n_steps: int) -> MDState:
    return replace(
        state,
        positions=image.get_positions(),
        momenta=np.zeros_like(image.positions),
        step=state.step + n_steps,
        energy=float(image.get_potential_energy()),
        forces=image.get_forces(),
        source="model",
        screen={},
    )
