"""A whole run in seconds: copper by a toy potential that learns the energy surface of EMT."""

from __future__ import annotations

from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly import OnTheFlyMaker, RunSpec, label_maker, load_calculator
from onfly.stores import job_store


def main() -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.02, seed=1)

    spec = RunSpec.from_flat(
        {
            "foundation_model": "toy",  # for real work: chgnet-0.3.0, mace-mp-medium, a file …
            "threshold": "100 meV",  # for the whole cell
            "level_of_theory": "EMT",
            "stages": [
                {"n_steps": 60, "temperature": 300.0, "time_step": 2.0},
                {"n_steps": 60, "temperature": 600.0, "time_step": 2.0},
            ],
            "initial_labels": 8,
            "audit_interval": 20,
            # small, so that it takes seconds; the paper takes 8 chains of 2000 steps
            "posterior": {"kind": "sghmc", "n_members": 4, "n_steps": 100},
            "proof": {"coverage": 0.8, "confidence": 0.9, "steps": 120},
            "n_workers": 1,
        }
    )
    # for real work: gfn1-xtb, pyscf-b3lyp, vasp-pbe …
    maker = OnTheFlyMaker(spec=spec, label_maker=label_maker("emt"), mode="resident")
    flow = maker.make(AseAtomsAdaptor.get_structure(copper))
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    model = flow.output.resolve(store)

    print(f"model    {model.model_id}: {model.state} ({model.stop_reason})")
    print(f"labels   {model.n_labels} in {model.n_steps} MD steps, {model.n_waits} waits for them")
    print(f"audits   {model.n_audits_within} of {model.n_audits} within {model.threshold_ev} eV")
    print(f"verdict  {model.verdict['sentence']}")
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
