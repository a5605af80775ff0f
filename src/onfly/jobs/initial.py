"""Initial ensemble: the energy offset from the first label, and the first update."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.state import MDState, draw_momenta
from onfly.jobs.base import otf_job
from onfly.jobs.context import RunContext, evolve, open_run, to_atoms
from onfly.jobs.known_labels import labels_of_runs, share_label
from onfly.labels.extract import extract_label
from onfly.labels.validate import validate_label
from onfly.schemas import LabelDoc, RunDoc

__all__ = ["InitialEnsembleMaker", "start_run"]

logger = logging.getLogger(__name__)


def start_run(
    run: RunDoc,
    structure: Structure | Molecule,
    output: Any,
    *,
    posterior: dict[str, Any],
    strategy: str = "sequential",
    temperature: float | None,
    seed_from: Sequence[str] = (),
) -> RunDoc:
    """Set the energy offset by the first label, and prepare ensemble and MD.

    Parameters
    ----------
    run
        In phase ``initial``.
    structure
        Where the MD starts; `output` is its label.
    output
        Task document of the labeller.
    posterior
        Kind and settings.
    strategy
        How the ensemble is evaluated: ``"sequential"`` or ``"stacked"``.
    temperature
        K, of the first velocities; None starts at rest.
    seed_from
        Runs whose labels enter the data set; see `InitialEnsembleMaker`.

    Returns
    -------
    RunDoc
        In phase ``update``: the ensemble is the foundation until then.

    Raises
    ------
    LabelError
        If the first label is no good: there is nothing to go on from.
    ValueError
        If a run in `seed_from` has no label that fits.
    """
    context = open_run(run)
    fields = {"run_id": run.run_id, "index": 0, "reason": "initial", "md_step": 0}
    if isinstance(output, LabelDoc):
        blank = dict.fromkeys(("predicted_energy", "predicted_std", "probability", "force_rmse"))
        label = output.model_copy(update=blank | fields | {"structure": structure})
    else:
        label = extract_label(output, requested=structure, energy_key=run.energy_key, **fields)
    validate_label(label, requested=structure, max_force=run.max_force)
    atoms = to_atoms(structure)
    energy, foundation_forces = context.foundation_prediction(atoms)
    forces = np.array(label.forces)
    label.foundation_energy = label.energy
    label.foundation_force_rmse = float(np.sqrt(np.mean((foundation_forces - forces) ** 2)))
    context.workspace.append_label(label)
    share_label(run, label)
    offset = energy - label.energy
    n_seeds = _append_seeds(context, labels_of_runs(seed_from, structure, label), offset)
    momenta = np.zeros((len(atoms), 3))
    if temperature is not None:
        momenta = draw_momenta(atoms, temperature, (*context.key, "velocities"))
    state = MDState(
        numbers=atoms.numbers,
        pbc=atoms.pbc,
        positions=atoms.positions,
        momenta=momenta,
        cell=atoms.cell.array,
        step=0,
        energy=energy,  # by the definition of the offset this is the label's energy
        forces=forces,
        stress=None if label.stress is None else np.array(label.stress),
        source="label",
    )
    method = posterior_from_dict(posterior)
    config = method.to_dict()
    kind = config.pop("kind")
    ensemble = context.workspace.save_ensemble(
        method.initial(context.potential, context.key), 0, 0
    ).model_copy(update={"settings": config, "posterior": kind, "strategy": strategy})
    calibration = run.calibration
    if run.settings.get("calibration") is None:
        defaults = context.potential.defaults
        calibration = calibration.model_copy(
            update={"shape": defaults.shape, "rate": defaults.rate}
        )
    logger.info("energy offset %.6f eV", offset)
    return evolve(
        run,
        phase="update",
        energy_offset=offset,
        input_hash=label.input_hash,
        labeller=run.labeller or label.labeller,
        ensemble=ensemble,
        calibration=calibration,
        md_state=context.workspace.save_md_state(state.to_arrays()),
        n_labels=1 + n_seeds,
        last_label_dir=label.dir_name,
        settings={**run.settings, "initial_volume": state.volume, "n_seeds": n_seeds},
    )


def _append_seeds(context: RunContext, seeds: Sequence[LabelDoc], offset: float) -> int:
    """Write labels of earlier runs behind label 0; nothing was predicted for them."""
    for index, seed in enumerate(seeds, start=1):
        validate_label(seed, max_force=context.run.max_force)
        energy, forces = context.foundation_prediction(to_atoms(seed.structure))
        difference = forces - np.array(seed.forces)
        update = {
            "run_id": context.run.run_id,
            "index": index,
            "foundation_energy": energy - offset,
            "foundation_force_rmse": float(np.sqrt(np.mean(difference**2))),
        }
        context.workspace.append_label(seed.model_copy(update=update))
    return len(seeds)


@dataclass
class InitialEnsembleMaker(Maker):
    """Set the offset by the first label and prepare the ensemble.

    Parameters
    ----------
    name
        Name of the job.
    posterior
        Kind and settings of the posterior; None is `DEFAULT_POSTERIOR`.
    strategy
        How the members are evaluated in MD: ``"sequential"``, ``"stacked"``, or ``"auto"``, which
        measures once and keeps what was faster for the whole run.
    temperature
        K, of the first velocities; None takes that of the first stage.
    seed_from
        Identifiers of earlier runs in the artifact directory. Their labels of the same composition
        and labeller settings are learned from the start: they follow the first label, with reason
        "seed". They say nothing about the calibration, since nothing was predicted for them.
    """

    name: str = "otf initial ensemble"
    posterior: dict[str, Any] | None = None
    strategy: str = "sequential"
    temperature: float | None = None
    seed_from: list[str] = field(default_factory=list)

    @otf_job
    def make(self, run: RunDoc, structure: Structure | Molecule, output: Any) -> RunDoc:
        """Return the run, ready for its first update."""
        run = self.start(run, structure, output)
        open_run(run).workspace.write_run(run)
        return run

    def start(self, run: RunDoc, structure: Structure | Molecule, output: Any) -> RunDoc:
        """See `start_run`."""
        return start_run(
            run,
            structure,
            output,
            posterior=self.posterior or dict(DEFAULT_POSTERIOR),
            strategy=self.strategy,
            temperature=self.temperature,
            seed_from=self.seed_from,
        )


# The least CPU to proven accuracy of those that were measured (docs/posteriors.md).
DEFAULT_POSTERIOR: dict[str, Any] = {"kind": "last_layer"}
