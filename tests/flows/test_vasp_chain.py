"""An on-the-fly run whose labels come through custodian, atomate2 and emmet from a stand-in."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT
from jobflow import run_locally

from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.single_point import to_atoms
from onfly.labels.store import LabelStore
from onfly.labels.vasp import VaspLabelMaker
from onfly.settings import get_settings
from onfly.testing.vasp_setup import standin_kwargs, write_control

pytestmark = pytest.mark.vasp


def test_labels_through_vasp_with_faults(make_maker, structure, store, tmp_path):
    control = write_control(
        tmp_path / "control.json",
        calculator="ase.calculators.emt.EMT",
        keywords={},
        # runs of the executable, counted over all labels: a crash (second attempt), an error that
        # custodian mends, and a label that looks good and is not
        faults={"2": "hard", "5": "edddav", "8": "nan"},
    )
    labeller = VaspLabelMaker.from_preset("pbe", **standin_kwargs(control))
    maker = make_maker("chained", n_steps=12, label_maker=labeller, audit_interval=2)
    flow = maker.make(structure, run_id="r")
    run_locally(flow, store=store, log=False, create_folders=True)
    model = flow.output.resolve(store)

    root = get_settings().ARTIFACT_DIR
    run, kept = RunWorkspace(root, "r").read_state(), LabelStore(root / "labels")
    entries = RunWorkspace(root, "r").read_ledger(run.posterior.n_records).entries
    labels = [kept.get(entry.label) for entry in entries if entry.label]
    assert run.phase == "done"
    assert model.n_labels == len(labels) >= 6  # with the faults, nine runs of the executable
    assert run.n_failures <= 1
    # every fault has cost one run of the executable more, and no label
    assert len(control.with_suffix(".runs").read_text()) >= len(labels) + 3
    assert len({label.input_hash for label in labels}) == 1
    assert sum(bool(label.corrections) for label in labels) >= 1
    for label in labels:
        atoms = to_atoms(label.structure)
        atoms.calc = EMT()
        assert label.energy == pytest.approx(atoms.get_potential_energy() - 20.0, abs=1e-5)
        np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-5)
