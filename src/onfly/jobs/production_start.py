"""From a published model to the state from which a production run starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.artifacts import ArtifactStore, RunWorkspace
from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.blobs import ensemble_files
from onfly.calculators import find_model
from onfly.dynamics.stages import MDStage, total_steps
from onfly.dynamics.state import MDState, draw_momenta
from onfly.jobs.context import evolve, likelihood_scales, open_run, to_atoms
from onfly.library import ModelLibrary, check_fit
from onfly.library.export import read_labels
from onfly.schemas import FineTunedModelDoc, LabelDoc, RunDoc, from_any_structure
from onfly.seeds import derive_seed
from onfly.settings import get_settings

__all__ = ["ModelSource", "start_production"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSource:
    """Where a model is: exactly one field is given.

    Parameters
    ----------
    model_id
        Of the library.
    run_id
        Of a run in the artifact directory, published or not.
    path
        Folder of a run or of an exported model.
    """

    model_id: str | None = None
    run_id: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.model_id, self.run_id, self.path)) != 1:
            raise ValueError("a production run needs one of model_id, run_id and path")

    def load(self) -> tuple[FineTunedModelDoc | RunDoc, ArtifactStore]:
        """Return the model's document and the store that has its weights."""
        settings = get_settings()
        if self.model_id is not None:
            library = ModelLibrary.from_settings(settings)
            return library.fetch_weights(self.model_id), library.artifact_store
        path = Path(self.path) if self.path else settings.ARTIFACT_DIR / "runs" / str(self.run_id)
        return find_model(path, settings.ARTIFACT_DIR)

    def labels(self, run_id: str, n_labels: int) -> list[LabelDoc]:
        """Return the labels the model was trained on, from its run's folder or the library.

        Raises
        ------
        FileNotFoundError
            If they are in neither.
        """
        settings = get_settings()
        labels = RunWorkspace(settings.ARTIFACT_DIR, run_id).labels()
        if len(labels) < n_labels:
            library = ModelLibrary.from_settings(settings, refresh=False)
            labels = read_labels(library.labels_store, {"run_id": run_id})  # type: ignore[arg-type]
        if len(labels) < n_labels:
            raise FileNotFoundError(
                f"only {len(labels)} of the {n_labels} labels of run {run_id} are in "
                f"{settings.ARTIFACT_DIR} and the library: without them the ensemble cannot be "
                "updated. Use on_uncertain='stop' or 'warn', or copy the run's folder here."
            )
        return labels[:n_labels]


def start_production(
    source: ModelSource,
    structure: Structure | Molecule | None,
    *,
    production_id: str,
    index: int,
    seed: int,
    stages: Sequence[MDStage],
    threshold: float | None,
    member: int | None,
    allow_mismatch: bool,
    with_labels: bool,
    max_failures: int = 3,
) -> RunDoc:
    """Return the state of a production run at step 0; the same arguments give the same state.

    Raises
    ------
    ValueError
        If the model cannot be used for the structure (`ModelMismatchError`), or has no ensemble.
    """
    model, store = source.load()
    if structure is None:
        structure = getattr(model, "structure", None)
        if structure is None:
            raise ValueError("an unpublished run does not say where to start: give a structure")
    ratio = _check_fit(model, structure, stages, threshold, allow_mismatch, with_labels)
    if model.ensemble is None or model.energy_offset is None:
        raise ValueError(f"run {model.run_id} has no ensemble yet: its first label has not come")
    settings = get_settings()
    _bring_weights(model, store, ArtifactStore(settings.ARTIFACT_DIR))
    run = from_any_structure(
        RunDoc,
        structure,
        run_id=production_id,
        campaign=model.campaign,
        phase="segment",
        foundation_model=model.foundation_model,
        labeller=model.labeller,
        threshold_ev=model.threshold_ev if threshold is None else threshold,
        settings={
            **model.settings,
            # the model's calibration knows its std with this σ_E in it
            "energy_std": likelihood_scales(model).energy_std * ratio,
            "stages": [stage.as_dict() for stage in stages],
            "production": {
                "model_id": model.model_id,
                "source_run_id": model.run_id,
                "index": index,
                "n_model_labels": model.n_labels,
            },
        },
        # not the streams of the run that made the model, nor those of another production run
        seed=derive_seed("production", seed, index),
        n_steps_total=total_steps(stages),
        ensemble=model.ensemble,
        calibration=model.calibration,
        energy_offset=model.energy_offset * ratio,
        input_hash=model.input_hash,
        n_labels=model.n_labels,
        max_failures=max_failures,
    )
    workspace = open_run(run, settings).workspace
    if with_labels:
        for label in source.labels(model.run_id, model.n_labels):
            workspace.append_label(label.model_copy(update={"run_id": production_id}))
    return _at_rest_or_warm(run, structure, stages, member)


def _check_fit(
    model: FineTunedModelDoc | RunDoc,
    structure: Structure | Molecule,
    stages: Sequence[MDStage],
    threshold: float | None,
    allow_mismatch: bool,
    with_labels: bool,
) -> float:
    """Refuse what the model was not made for; return the size in units of the model's cell."""
    if isinstance(model, FineTunedModelDoc):
        temperatures = [t for s in stages for t in s.temperatures]
        check_fit(
            model,
            allow_mismatch=allow_mismatch,
            structure=structure,
            temperature=temperatures or None,
        )
    size = model.nsites or (len(model.structure) if isinstance(model, FineTunedModelDoc) else 0)
    if not size or size == len(structure):
        return 1.0
    if with_labels:
        raise ValueError(
            f"the model's labels have {size} atoms, the structure {len(structure)}: labels of "
            "different cells do not share an energy offset. Use on_uncertain='stop' or 'warn'."
        )
    if threshold is None:
        raise ValueError(
            f"the model's threshold is that of {size} atoms, the structure has {len(structure)}: "
            "give the threshold (eV) for the whole of this cell"
        )
    return len(structure) / size


def _bring_weights(
    model: FineTunedModelDoc | RunDoc, store: ArtifactStore, ours: ArtifactStore
) -> None:
    assert model.ensemble is not None
    for ref in ensemble_files(model.ensemble):
        if not ours.exists(ref):
            atomic_write(ours.path(ref), store.load_bytes(ref))


def _at_rest_or_warm(
    run: RunDoc, structure: Structure | Molecule, stages: Sequence[MDStage], member: int | None
) -> RunDoc:
    """Evaluate the initial structure, and give it velocities unless it must start at rest."""
    context = open_run(run)
    atoms = to_atoms(structure)
    stress = bool(atoms.pbc.all()) and context.potential.supports_stress
    prediction = context.predictor(member).predict(atoms, stress=stress)
    first = stages[0]
    momenta: Any = np.zeros((len(atoms), 3))
    if first.temperature is not None:
        momenta = draw_momenta(atoms, first.temperature_at(0) or 0.0, (*context.key, "velocities"))
    state = MDState(
        numbers=atoms.numbers,
        pbc=atoms.pbc,
        positions=atoms.positions,
        momenta=momenta,
        cell=atoms.cell.array,
        step=0,
        energy=prediction.energy,
        forces=prediction.forces,
        stress=prediction.stress,
        source="model",
    )
    return evolve(
        run,
        md_state=context.workspace.save_md_state(state.to_arrays()),
        settings={**run.settings, "initial_volume": state.volume},
    )
