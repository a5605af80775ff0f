"""Five production runs with the fine-tuned model: 1 ps of Langevin dynamics, then 30 ps NVE.

    python production.py RUN_ID [--runs 5] [--steps 20000]

The model is that of a run in the artifact directory; the folders of the production runs are called
RUN_ID-production-0, -1 …. Here one after the other; for a cluster, submit the flow instead.
"""

from __future__ import annotations

import argparse

from jobflow import run_locally

from onfly import MDStage, ProductionMaker
from onfly.stores import job_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_id")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--temperature", type=float, default=1500.0)
    arguments = parser.parse_args()
    maker = ProductionMaker(
        equilibration=[MDStage(667, temperature=arguments.temperature)],
        stages=[MDStage(arguments.steps, temperature=None, ensemble="nve")],
        time_step=1.5,
        n_runs=arguments.runs,
        on_uncertain="warn",
        traj_interval=1,
    )
    flow = maker.make(run_id=arguments.run_id, production_id=f"{arguments.run_id}-production")
    store = job_store()
    run_locally(flow, store=store, ensure_success=True, log=False)
    for output in flow.output:
        doc = output.resolve(store)
        print(
            f"{doc.production_id}: {doc.state}, {doc.n_uncertain} of {doc.n_watched} steps "
            f"uncertain in {doc.n_excursions} excursions"
        )


if __name__ == "__main__":
    main()
