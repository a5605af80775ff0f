"""Your own labeller: any ASE calculator, by its dotted name."""

from __future__ import annotations

from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly import OnTheFlyMaker, RunSpec
from onfly.labels.ase import AseLabelMaker
from onfly.stores import job_store


def main() -> None:
    labeller = AseLabelMaker(
        name="compressed EMT label",
        calculator="my_labeller.CompressedEMT",  # importable wherever labels are made
        calculator_kwargs={"factor": 0.98},  # part of the settings that labels must share
    )
    spec = RunSpec.from_flat(
        {
            "foundation_model": "toy",
            "threshold": "100 meV",
            "level_of_theory": "compressed EMT",
            "stages": [{"n_steps": 40, "temperature": 300.0, "time_step": 2.0}],
            "audit_interval": 10,
            "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 50},
            "proof": {"attempts": 0},  # nothing is proven, to be done in seconds
            "n_workers": 1,
        }
    )
    maker = OnTheFlyMaker(spec=spec, label_maker=labeller, mode="resident")
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.02, seed=1)
    flow = maker.make(AseAtomsAdaptor.get_structure(copper))
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    model = flow.output.resolve(store)
    print(f"{model.n_labels} labels by {model.labeller}; model {model.model_id} is {model.state}")


if __name__ == "__main__":
    main()
