"""Your own foundation model; first make it known: pip install ./own_foundation_model"""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly import OnTheFlyMaker, RunSpec, label_maker
from onfly.potentials import load_foundation
from onfly.stores import job_store


def check_forces() -> None:
    """Compare with finite differences: the first thing to do with a new family."""
    potential = load_foundation("noble-gas", elements=["Ar"])
    argon = bulk("Ar", cubic=True)
    argon.rattle(0.1, seed=0)

    def evaluate(atoms, forces=False):
        batch = potential.collate([potential.graph(atoms)])
        return potential.evaluate(potential.parameters(), batch, forces=forces)

    exact = evaluate(argon, forces=True).forces.numpy()[0, 0]
    energies = []
    for step in (1e-4, -1e-4):
        moved = argon.copy()
        moved.positions[0, 0] += step
        energies.append(float(evaluate(moved).energy[0]))
    difference = -(energies[0] - energies[1]) / 2e-4
    print(f"force on the first atom {exact:.6f} eV/Å, by differences {difference:.6f} eV/Å")
    assert np.isclose(exact, difference, atol=1e-6)


def main() -> None:
    check_forces()
    spec = RunSpec.from_flat(
        {
            "foundation_model": "noble-gas",
            "threshold": "5 meV",
            "level_of_theory": "Lennard-Jones",
            "stages": [{"n_steps": 40, "temperature": 30.0, "time_step": 2.0}],
            "audit_interval": 10,
            "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 100},
            "proof": {"attempts": 0},  # nothing is proven, to be done in seconds
            "n_workers": 1,
        }
    )
    maker = OnTheFlyMaker(spec=spec, label_maker=label_maker("lj"), mode="resident")
    flow = maker.make(AseAtomsAdaptor.get_structure(bulk("Ar", cubic=True)))
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    model = flow.output.resolve(store)
    print(f"{model.n_labels} labels; model {model.model_id} of {model.foundation_model}")


if __name__ == "__main__":
    main()
