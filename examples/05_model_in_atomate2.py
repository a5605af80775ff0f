"""A fine-tuned model in atomate2's workflows. Run 01_first_run.py first."""

from __future__ import annotations

import warnings

from ase.build import bulk
from atomate2.forcefields.flows.elastic import ElasticMaker
from atomate2.forcefields.jobs import ForceFieldRelaxMaker, ForceFieldStaticMaker
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.library import ModelLibrary


def main() -> None:
    warnings.simplefilter("ignore")
    model = ModelLibrary.from_settings().latest("Cu", level_of_theory="EMT")
    # what atomate2 takes in the place of a force field's name
    force_field = {
        "force_field_name": {"@module": "onfly.calculators", "@callable": "load_calculator"},
        "calculator_kwargs": {"model_id": model.model_id},
    }
    copper = AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})

    static = ForceFieldStaticMaker(**force_field).make(copper)
    run_locally(static, store=store, ensure_success=True, log=False)
    output = static.output.resolve(store).output
    print(f"static: {output.energy:.4f} eV, pressure {output.stress[0][0]:.2f} kbar")

    relax = {"relax_kwargs": {"fmax": 1e-4}, **force_field}
    elastic = ElasticMaker(
        bulk_relax_maker=ForceFieldRelaxMaker(relax_cell=True, **relax),
        elastic_relax_maker=ForceFieldRelaxMaker(relax_cell=False, **relax),
    ).make(copper)
    run_locally(elastic, store=store, ensure_success=True, log=False)
    tensor = elastic.output.resolve(store)
    print(f"bulk modulus {tensor.derived_properties.k_vrh:.1f} GPa")
    for row in tensor.elastic_tensor.ieee_format:
        print("  " + " ".join(f"{value:8.1f}" for value in row))


if __name__ == "__main__":
    main()
