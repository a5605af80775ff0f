from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from onfly.rounds.new import new_run
from onfly.spec import RunSpec

RUN_ID = "run-1"


@pytest.fixture
def make_run():
    """Return the function that makes the state of a run, with changes of its posterior."""

    def make(run_id=RUN_ID, **fields):
        spec = RunSpec.from_flat(
            {"foundation_model": "toy", "threshold": 0.1, "stages": [{"n_steps": 10}]}
        )
        structure = Structure(Lattice.cubic(3.0), ["Ca"], [[0, 0, 0]])
        return new_run(spec, structure, run_id=run_id).evolve(**fields)

    return make
