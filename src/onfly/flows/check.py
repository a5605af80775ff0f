"""All that can be known to be wrong with a run before anything is labelled or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.guards import shortest_distance
from onfly.dynamics.stage_check import stage_problems
from onfly.flows.machine import machine_problems
from onfly.labels.check import check_labeller
from onfly.labels.maker import maker_for_run, maker_hash
from onfly.labels.presets import label_maker
from onfly.labels.stress import check_stress
from onfly.potentials.foundation import check_foundation
from onfly.rounds.new import new_run, starting_structures
from onfly.rounds.seeds import check_seeds
from onfly.schemas import to_atoms
from onfly.session import Session
from onfly.spec import RunSpec
from onfly.structures import check_structure

__all__ = ["check_run"]


def check_run(
    spec: RunSpec,
    structures: Sequence[Structure | Molecule],
    *,
    maker: Maker | None = None,
    session: Session | None = None,
    here: bool = True,
) -> list[str]:
    """Return what would keep a run from its end, a sentence each; empty if nothing is known.

    No potential is loaded and nothing is calculated.

    Parameters
    ----------
    spec
        The settings.
    structures
        Where the trajectories start.
    maker
        The labeller; None makes that of the settings.
    session
        Of the process; None makes one.
    here
        Whether the run is done on this machine, so that its programs, folders, device and earlier
        runs count; False where workers do it.

    Returns
    -------
    list of str
        One sentence for each problem, with its remedy.

    Examples
    --------
    >>> from onfly.spec import RunSpec
    >>> from onfly.testing.models import crystal
    >>> settings = {"foundation_model": "toy", "labeller": "emt", "threshold": "50 meV"}
    >>> spec = RunSpec.from_flat({**settings, "stages": [{"n_steps": 1000}]})
    >>> check_run(spec, [crystal("Cu", "Au")])
    []
    >>> check_run(spec, [crystal("Zr", "S")])
    ['labeller: ase.calculators.emt.EMT does not know S, Zr: choose another labeller']
    """
    problems = _structures(spec, structures)
    if problems:
        return problems
    problems += _said(
        lambda: posterior_from_dict({"kind": spec.posterior.kind, **spec.posterior.options})
    )
    problems += _said(lambda: new_run(spec, structures[0], run_id="check"))
    problems += _said(lambda: starting_structures(structures, spec))
    problems += _motion(spec, structures)
    problems += _properties(spec, structures[0], here)
    problems += _foundation(spec, structures[0])
    try:
        maker = maker or _asked(spec)
    except (ValueError, TypeError, ImportError) as error:
        problems.append(f"labeller: {error}")
    if maker is not None:
        problems += _labeller(spec, structures[0], maker, here)
    if here:
        problems += _here(spec, structures[0], maker, session or Session())
    return list(dict.fromkeys(problems))


def _asked(spec: RunSpec) -> Maker | None:
    given = spec.labels.labeller
    return None if given is None else label_maker(given.name, **given.kwargs)


def _here(
    spec: RunSpec, structure: Structure | Molecule, maker: Maker | None, session: Session
) -> list[str]:
    """Return what is wrong with this machine, and with the earlier runs on it."""
    problems = machine_problems(session.settings)
    seeds = spec.labels.seed_from
    if seeds:
        known = maker_hash(maker_for_run(maker, structure)) if isinstance(maker, Maker) else None
        problems += _said(lambda: check_seeds(session, seeds, structure, known))
    return problems


def _structures(spec: RunSpec, structures: Sequence[Structure | Molecule]) -> list[str]:
    if not structures:
        return ["there is no structure to start from"]
    limit = spec.guards.max_atoms
    problems: list[str] = []
    for number, structure in enumerate(structures):
        name = "the structure" if len(structures) == 1 else f"structure {number + 1}"
        problems += _said(lambda s=structure, n=name: check_structure(s, max_atoms=limit, name=n))
    return problems


def _motion(spec: RunSpec, structures: Sequence[Structure | Molecule]) -> list[str]:
    """Return what would end the MD at its first step."""
    given = spec.trajectories
    problems = stage_problems(given.stages, to_atoms(structures[0]), given.time_step)
    smallest = spec.guards.min_distance
    for number, structure in enumerate(structures):
        ratio = shortest_distance(to_atoms(structure), smallest)
        if ratio < smallest:
            name = "the structure" if len(structures) == 1 else f"structure {number + 1}"
            problems.append(
                f"{name} has two atoms at {ratio:.2f} of the sum of their covalent radii, and "
                f"min_distance is {smallest:g}: the first step would be refused. Check the "
                "positions and their unit, or lower min_distance"
            )
    return problems


def _properties(spec: RunSpec, structure: Structure | Molecule, here: bool) -> list[str]:
    """Return why properties that are asked for cannot be measured at the end."""
    asked = spec.properties.kinds
    if asked and isinstance(structure, Molecule):
        return ["properties: they are those of crystals, and the structure is a molecule"]
    if here and "phonon" in asked and find_spec("phonopy") is None:
        return ["properties: phonon needs phonopy: pip install 'onfly[properties]'"]
    return []


def _foundation(spec: RunSpec, structure: Structure | Molecule) -> list[str]:
    elements = sorted({str(element) for element in structure.composition.elements})
    return list(check_foundation(spec.foundation, elements))


def _labeller(
    spec: RunSpec, structure: Structure | Molecule, maker: Maker, here: bool
) -> list[str]:
    problems = [*check_labeller(maker, structure, here=here)]
    problems += _said(lambda: check_stress(maker, spec.trajectories.stages, spec.tolerance))
    return [f"labeller: {problem}" for problem in problems]


def _said(action: Any) -> list[str]:
    try:
        action()
    except (ValueError, TypeError, ImportError) as error:
        return [str(error)]
    return []
