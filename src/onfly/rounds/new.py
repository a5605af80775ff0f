"""A run that has not begun."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from pymatgen.core import Molecule, Structure

from onfly.artifacts.workspace import check_run_id
from onfly.bayes.likelihood import LikelihoodScales
from onfly.dynamics.drivers import driver_of
from onfly.dynamics.neb import interpolated
from onfly.potentials.foundation import fixed_source
from onfly.rounds.criteria import atoms_of, criterion_of, tolerance_in_cell
from onfly.schemas import (
    CalibrationDoc,
    ForceCalibrationDoc,
    PosteriorDoc,
    RunState,
    from_any_structure,
    to_atoms,
    to_structure,
)
from onfly.spec import RunSpec

__all__ = ["new_run", "starting_structures"]


def new_run(
    spec: RunSpec,
    structure: Structure | Molecule,
    *,
    run_id: str | None = None,
    campaign: str | None = None,
) -> RunState:
    """Return the state of a run that has not begun.

    Raises
    ------
    ValueError
        If the settings do not fit the structure.
    """
    if run_id is not None:
        check_run_id(run_id)
    stages = spec.trajectories.stages
    if any(s.needs_stress for s in stages) and isinstance(structure, Molecule):
        what = "a relaxation of the cell" if stages[0].searches else "an npt stage"
        raise ValueError(f"{what} needs a periodic structure, not a molecule")
    if any(t.quantity == "stress" for t in spec.tolerance) and isinstance(structure, Molecule):
        raise ValueError("a tolerance of the stress needs a periodic structure, not a molecule")
    driver_of(stages)  # what does not exist is refused before any work
    n_atoms = len(structure)
    atoms = to_atoms(structure)
    spec = _with_fixed_foundation(spec)
    energies = [
        tolerance_in_cell(t, n_atoms) for t in spec.tolerance if t.quantity.startswith("energy")
    ]
    # as the name of a folder: Ca(NO3)2 becomes Ca-NO3-2
    formula = re.sub(r"[^A-Za-z0-9.]+", "-", structure.composition.reduced_formula).strip("-")
    given = spec.calibration
    threshold = min(energies) if energies else None
    posterior = from_any_structure(
        PosteriorDoc,
        structure,
        run_id=f"{formula}-{uuid.uuid4().hex[:8]}" if run_id is None else run_id,
        campaign=campaign,
        spec=spec,
        threshold_ev=threshold,
        energy_std=_energy_std(spec, threshold, n_atoms),
        tolerance_atoms={
            t.name: atoms_of(t, atoms) for t in spec.tolerance if t.quantity == "force"
        },
        calibration=CalibrationDoc(
            shape=given.shape or 1.5,
            rate=given.rate or 10.0,
            mode=given.mode,
            decay=given.decay if given.mode == "ema" else 1.0,
            surprise=given.surprise,
        ),
        force_calibration=ForceCalibrationDoc(surprise=given.surprise),
    )
    criterion_of(posterior, atoms.numbers)  # what cannot be judged is refused before any work
    return RunState(posterior=posterior)


def _with_fixed_foundation(spec: RunSpec) -> RunSpec:
    """Name the version of a foundation of which the newest was asked for."""
    source = fixed_source(spec.foundation)
    if source == spec.foundation.source:
        return spec
    return spec.evolve(foundation=spec.foundation.evolve(source=source))


def _energy_std(spec: RunSpec, threshold: float | None, n_atoms: int) -> float:
    """Return σ_E of the likelihood in eV.

    Without a tolerance of the energy it is balanced against the forces alone.
    """
    balanced = spec.posterior.energy_weight == "balanced" or threshold is None
    scales = LikelihoodScales.for_threshold(threshold, n_atoms=n_atoms if balanced else None)
    return scales.energy_std


def starting_structures(
    structures: Sequence[Structure | Molecule], spec: RunSpec
) -> list[Structure | Molecule]:
    """Return a structure for each trajectory; those between the ends of a path are interpolated.

    Raises
    ------
    ValueError
        If there are neither one nor as many structures, or their atoms differ.
    """
    walkers, driver = spec.trajectories.walkers, spec.trajectories.stages[0].driver
    if driver == "neb" and len(structures) == 2:
        images = interpolated(to_atoms(structures[0]), to_atoms(structures[1]), walkers)
        return [to_structure(image) for image in images]
    if driver == "neb" and len(structures) != walkers:
        raise ValueError(
            f"a path needs both ends, or all its {walkers} images, not {len(structures)} "
            "structures: give initial and final to OnTheFlyNebMaker"
        )
    if driver == "relax" and len(structures) == 1 < walkers:
        raise ValueError(
            f"{walkers} relaxations of one structure are the same: leave `walkers` out, or give a "
            "structure for each"
        )
    if len(structures) not in (1, walkers):
        raise ValueError(
            f"{len(structures)} structures for {walkers} trajectories: give one structure, or one "
            "for each of `walkers`"
        )
    first = structures[0]
    for structure in structures[1:]:
        if [str(site.specie) for site in structure] != [str(site.specie) for site in first]:
            raise ValueError(
                "the structures of a run must have the same atoms in the same order: their "
                "energies share one offset"
            )
    return list(structures) * (walkers if len(structures) == 1 else 1)
