"""Labels of a few alloys by EMT, in a library of their own, and short fits of the toy potential."""

from __future__ import annotations

import pytest
from ase.calculators.emt import EMT

from onfly.classes.library import ClassLibrary
from onfly.classes.selection import select_labels
from onfly.classes.update import update_class
from onfly.library import ModelLibrary
from onfly.schemas import to_atoms, to_structure
from onfly.settings import get_settings
from onfly.spec.classes import ClassFitSpec
from onfly.testing.models import crystal, toy_label, toy_run, write_toy_run
from tests.campaign.conftest import machine  # noqa: F401  # a fixture that is used by itself

PAIRS = (("Cu", "Au"), ("Cu", "Ag"), ("Ag", "Au"), ("Ni", "Cu"))
QUICK = ClassFitSpec(n_steps=60, replay=6, check=6, folds=0)


def alloy_labels(pair, run_id, n=5, shift=0.0, **fields):
    """Return labels of a displaced alloy by EMT, energies shifted by some eV per atom."""
    labels = []
    for index in range(n):
        atoms = to_atoms(crystal(*pair))
        atoms.rattle(0.08, seed=index)
        atoms.calc = EMT()
        energy = atoms.get_potential_energy() + shift * len(atoms)
        forces = atoms.get_forces().tolist()
        labels.append(
            toy_label(index, run_id, to_structure(atoms), energy=energy, forces=forces, **fields)
        )
    return labels


def write_alloy(pair, n=5, campaign="alloys", shift=0.0, spec=None, run_id=None, **fields):
    """Write the run of an alloy with its labels into the artifact directory."""
    run_id = run_id or "run-" + "".join(pair)
    extra = {} if spec is None else {"spec": spec}
    state = toy_run(run_id, crystal(*pair), campaign=campaign, labeller="emt", **extra)
    labels = alloy_labels(pair, run_id, n, shift, **fields)
    return write_toy_run(get_settings().ARTIFACT_DIR, state, labels)


@pytest.fixture
def alloys():
    """Write four alloys, and return the library that has their labels."""
    for pair in PAIRS:
        write_alloy(pair)
    return filled_library()


def filled_library():
    library = ModelLibrary.from_settings()
    library.add_runs()
    return library


def quick_update(library, name="alloys", exclude=(), spec=QUICK, criteria=None, **options):
    selection = select_labels(library, criteria or {"campaign": "alloys"}, exclude=exclude)
    return update_class(name, selection, ClassLibrary.from_settings(), spec=spec, **options)
