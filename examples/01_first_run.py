"""A whole run in seconds: copper by a toy potential that learns the energy surface of EMT."""

from __future__ import annotations

from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.calculators import load_calculator
from onfly.dynamics.stages import MDStage
from onfly.dynamics.stopping import StoppingRule
from onfly.flows import OnTheFlyMaker
from onfly.jobs.initial import InitialEnsembleMaker
from onfly.jobs.segment import SegmentMaker
from onfly.jobs.update import UpdateMaker
from onfly.labels.presets import label_maker
from onfly.stores import job_store


def main() -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.02, seed=1)

    maker = OnTheFlyMaker(
        foundation_model="toy",  # for real work: chgnet-0.3.0, mace-mp-medium, a file …
        threshold=100,  # meV, for the whole cell
        threshold_unit="meV",
        label_maker=label_maker("emt"),  # for real work: gfn1-xtb, pyscf-b3lyp, vasp-pbe …
        mode="resident",
        level_of_theory="EMT",
        # the paper takes 8 chains of 2000 steps
        initial_maker=InitialEnsembleMaker(
            posterior={"kind": "sghmc", "n_members": 4, "n_steps": 100}
        ),
        segment_maker=SegmentMaker(
            stages=[MDStage(60, temperature=300.0), MDStage(60, temperature=600.0)],
            time_step=2.0,
            audit_interval=10,
            stopping=StoppingRule(min_audits=5),
            update_maker=UpdateMaker(n_workers=1),
        ),
    )
    flow = maker.make(AseAtomsAdaptor.get_structure(copper))
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    model = flow.output.resolve(store)

    print(f"model    {model.model_id}: {model.state} ({model.stop_reason})")
    print(f"labels   {model.n_labels} in {model.n_steps} MD steps")
    print(f"audits   {model.n_audits_within} of {model.n_audits} within {model.threshold_ev} eV")
    print(
        f"errors   energy RMSE at audits {model.audits.rmse:.3f} eV, "
        f"of the foundation model {model.audits.foundation_rmse:.3f} eV"
    )

    copper.rattle(0.05, seed=2)
    copper.calc = load_calculator(model_id=model.model_id)
    energy = copper.get_potential_energy()
    std = copper.calc.results["energy_std"]
    print(f"energy   {energy:.3f} ± {std:.3f} eV")
    print(f"         wrong by more than 100 meV with probability {copper.calc.probability():.3f}")


if __name__ == "__main__":
    main()
