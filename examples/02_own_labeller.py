"""Your own labeller: any ASE calculator, by its dotted name."""

from __future__ import annotations

from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.flows import OnTheFlyMaker
from onfly.jobs.initial import InitialEnsembleMaker
from onfly.jobs.segment import SegmentMaker
from onfly.jobs.update import UpdateMaker
from onfly.labels.ase import AseLabelMaker
from onfly.stores import job_store


def main() -> None:
    labeller = AseLabelMaker(
        name="compressed EMT label",
        calculator="my_labeller.CompressedEMT",  # importable wherever labels are made
        calculator_kwargs={"factor": 0.98},  # part of the settings that labels must share
    )
    maker = OnTheFlyMaker(
        foundation_model="toy",
        threshold=0.1,
        label_maker=labeller,
        mode="resident",
        level_of_theory="compressed EMT",
        initial_maker=InitialEnsembleMaker(
            posterior={"kind": "sghmc", "n_members": 2, "n_steps": 50}
        ),
        segment_maker=SegmentMaker(
            n_steps=40,
            temperature=300.0,
            time_step=2.0,
            audit_interval=10,
            update_maker=UpdateMaker(n_workers=1),
        ),
    )
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.02, seed=1)
    flow = maker.make(AseAtomsAdaptor.get_structure(copper))
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    model = flow.output.resolve(store)
    print(f"{model.n_labels} labels by {model.labeller}; model {model.model_id} is {model.state}")


if __name__ == "__main__":
    main()
