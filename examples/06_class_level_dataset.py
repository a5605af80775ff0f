"""Labels of many compounds as one data set, to fine-tune a model of the whole class."""

from __future__ import annotations

import ase.io
from ase.build import bulk
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly import CampaignMaker, ModelLibrary, OnTheFlyMaker, RunSpec, label_maker
from onfly.library.export import export_labels, read_labels
from onfly.stores import job_store

CAMPAIGN = "coinage-metals"


def main() -> None:
    spec = RunSpec.from_flat(
        {
            "foundation_model": "toy",
            "threshold": "20 meV",
            "threshold_per_atom": True,
            "stages": [{"n_steps": 20, "temperature": 300.0, "time_step": 2.0}],
            "audit_interval": 10,
            "posterior": {"kind": "sghmc", "n_members": 2, "n_steps": 50},
            "proof": {"attempts": 0},  # nothing is proven, to be done in seconds
            "n_workers": 1,
        }
    )
    campaign = CampaignMaker(
        campaign=CAMPAIGN,
        maker=OnTheFlyMaker(spec=spec, label_maker=label_maker("emt"), mode="resident"),
        overrides={"Au": {"threshold": "40 meV"}},  # gold may be less accurate
    )
    structures = [AseAtomsAdaptor.get_structure(bulk(s, cubic=True)) for s in ("Cu", "Ag", "Au")]
    store = job_store()
    for flow in campaign.make(structures):
        run_locally(flow, store=store, ensure_success=True, log=False)

    library = ModelLibrary.from_settings()
    library.add_runs()  # labels lie in the artifact directory until then
    labels = read_labels(library.labels_store, {"campaign": CAMPAIGN})
    count = export_labels(labels, "coinage-metals.extxyz")
    frames = ase.io.read("coinage-metals.extxyz", ":")
    formulas = sorted({atoms.get_chemical_formula() for atoms in frames})
    print(f"{count} labels of {', '.join(formulas)} in coinage-metals.extxyz")
    print(f"energy of the first: {frames[0].get_potential_energy():.3f} eV")


if __name__ == "__main__":
    main()
