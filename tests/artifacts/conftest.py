from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Molecule, Structure

from onfly.schemas import CalibrationDoc, LabelDoc, RunDoc, from_any_structure, structure_hash

RUN_ID = "run-1"


@pytest.fixture
def make_label():
    def make(index=0, run_id=RUN_ID, molecule=False, **fields):
        rng = np.random.default_rng(index)
        if molecule:
            structure = Molecule(["O", "H", "H"], rng.normal(size=(3, 3)))
        else:
            structure = Structure(
                Lattice.from_parameters(3.1, 3.3, 4.7, 88, 91, 97),
                ["Ca", "S"],
                rng.random((2, 3)),
            )
        content = {
            "structure": structure,
            "structure_hash": structure_hash(structure),
            "energy": float(rng.normal()),
            "forces": rng.normal(size=(len(structure), 3)).tolist(),
            "run_id": run_id,
            "index": index,
            "reason": "uncertain",
        }
        return from_any_structure(LabelDoc, structure, **content | fields)

    return make


@pytest.fixture
def make_run():
    def make(run_id=RUN_ID, **fields):
        structure = Structure(Lattice.cubic(3.0), ["Ca"], [[0, 0, 0]])
        content = {
            "run_id": run_id,
            "foundation_model": "toy",
            "threshold_ev": 0.1,
            "settings": {"threshold": {"value": 0.1, "unit": "eV"}},
            "calibration": CalibrationDoc(shape=1.5, rate=10.0),
        }
        return from_any_structure(RunDoc, structure, **content | fields)

    return make
