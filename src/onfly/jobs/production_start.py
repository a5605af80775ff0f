"""From a published model to the state from which a production run starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymatgen.core import Molecule, Structure

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.blobs import ensemble_files
from onfly.calculators import find_model
from onfly.jobs.production_tolerance import watched
from onfly.labels.errors import LabelError
from onfly.library import ModelLibrary, check_fit
from onfly.library.export import read_labels
from onfly.proof import Ledger, LedgerEntry
from onfly.rounds.start import state_at_start
from onfly.schemas import (
    FineTunedModelDoc,
    LabelDoc,
    PosteriorDoc,
    RunState,
    TrajectoryDoc,
    from_any_structure,
    to_atoms,
)
from onfly.schemas.posterior import ProductionSource
from onfly.session import Session, likelihood_scales
from onfly.settings import get_settings
from onfly.spec import MDStage, RunSpec
from onfly.spec.stages import total_steps

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

    def load(self) -> tuple[FineTunedModelDoc | PosteriorDoc, ArtifactStore]:
        """Return the model's document and the store that has its weights."""
        settings = get_settings()
        if self.model_id is not None:
            library = ModelLibrary.from_settings(settings)
            return library.fetch_weights(self.model_id), library.artifact_store
        path = Path(self.path) if self.path else settings.ARTIFACT_DIR / "runs" / str(self.run_id)
        return find_model(path, settings.ARTIFACT_DIR)

    def labels(
        self, session: Session, model: FineTunedModelDoc | PosteriorDoc
    ) -> list[tuple[str, LabelDoc]]:
        """Return keys and labels that the model was trained on, from our files or the library.

        Raises
        ------
        FileNotFoundError
            If they are in neither.
        """
        workspace = session.workspace(model.run_id)
        found: list[tuple[str, LabelDoc]] = []
        try:
            run = session.open(workspace.read_state().posterior)
            keys = [e.label for e in run.ledger().entries if e.label is not None]
            found = [(key, session.labels.get(key)) for key in keys]
        except (FileNotFoundError, ArtifactError, LabelError) as error:
            logger.info("labels of run %s are taken from the library: %s", model.run_id, error)
        if len(found) < model.n_labels:
            library = ModelLibrary.from_settings(session.settings, refresh=False)
            store: Any = library.labels_store
            labels = read_labels(store, {"run_id": model.run_id})
            found = [(session.labels.put(label), label) for label in labels]
        if len(found) < model.n_labels:
            raise FileNotFoundError(
                f"only {len(found)} of the {model.n_labels} labels of run {model.run_id} are in "
                f"{session.settings.ARTIFACT_DIR} and the library: without them the ensemble "
                "cannot be updated. Use on_uncertain='stop' or 'warn', or copy the run's folder "
                "and the label store here."
            )
        return found[: model.n_labels]


def start_production(
    session: Session,
    source: ModelSource,
    structure: Structure | Molecule | None,
    *,
    production_id: str,
    index: int,
    member: int | None,
    allow_mismatch: bool,
    with_labels: bool,
    threshold: float | None,
    max_probability: float,
    settings: dict[str, dict[str, Any]],
    seed: int,
) -> RunState:
    """Return the state of a production run at step 0; the same arguments give the same state.

    Parameters
    ----------
    session
        Of the process.
    source
        The model.
    structure
        Where it starts; None takes the model's.
    production_id, index
        Name of the run, and its number.
    member
        The member that is the force field, or None for the mean.
    allow_mismatch
        Run also where the model does not fit.
    with_labels
        Whether the model goes on learning, so that its labels are needed.
    threshold
        eV for the whole cell; None takes the model's tolerances of energies. Those of forces and
        stress are the model's.
    max_probability
        Of an error above a tolerance.
    settings
        Settings that replace those of the model's run, by group of `RunSpec`.
    seed
        Of the random streams.

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
    spec = _spec(model, settings, seed)
    ratio = _check_fit(model, structure, spec.trajectories.stages, allow_mismatch, with_labels)
    limits = watched(
        model,
        spec.tolerance,
        to_atoms(structure),
        size=ratio,
        threshold=threshold,
        max_probability=max_probability,
    )
    if model.ensemble is None or model.energy_offset is None:
        raise ValueError(f"run {model.run_id} has no ensemble yet: its first label has not come")
    _bring_weights(model, store, ArtifactStore(session.settings.ARTIFACT_DIR))
    posterior = from_any_structure(
        PosteriorDoc,
        structure,
        run_id=production_id,
        campaign=model.campaign,
        spec=spec.evolve(tolerance=limits.tolerances),
        tolerance_atoms=limits.atoms,
        phase="explore",
        labeller=model.labeller,
        threshold_ev=limits.threshold,
        # the model's calibration knows its std with this σ_E in it
        energy_std=likelihood_scales(model).energy_std * ratio,
        energy_offset=model.energy_offset * ratio,
        input_hash=model.input_hash,
        ensemble=model.ensemble,
        calibration=model.calibration,
        force_calibration=model.force_calibration,
        stress_calibration=model.stress_calibration,
        production=ProductionSource(
            model_id=model.model_id,
            source_run_id=model.run_id,
            index=index,
            n_model_labels=model.n_labels if with_labels else 0,
        ),
    )
    state = RunState(posterior=posterior)
    if with_labels:
        state = _with_labels(session, state, source.labels(session, model))
    return _at_rest_or_warm(session, state, structure, member)


def _spec(
    model: FineTunedModelDoc | PosteriorDoc,
    settings: dict[str, dict[str, Any]],
    seed: int,
) -> RunSpec:
    """Return the settings of the model's run, with those of the production run in them."""
    if isinstance(model, PosteriorDoc):
        spec = model.spec
    elif model.spec is not None:
        spec = RunSpec.model_validate(model.spec)
    else:  # a model of version 0.1
        spec = RunSpec.from_flat(
            {
                "foundation_model": model.foundation_model,
                "threshold": model.threshold_ev,
                "stages": settings["trajectories"]["stages"],
            }
        )
    groups = {name: getattr(spec, name).evolve(**new) for name, new in settings.items()}
    return spec.evolve(**groups, seed=seed)


def _with_labels(
    session: Session, state: RunState, labels: Sequence[tuple[str, LabelDoc]]
) -> RunState:
    """Let the ledger begin with the model's labels, which its ensemble has learned."""
    ledger = Ledger()
    for key, _ in labels:
        ledger = ledger.append(
            LedgerEntry(index=ledger.n_labels, trajectory=0, step=0, reason="seed", label=key)
        )
    assert state.posterior.ensemble is not None
    ledger = ledger.learned(state.posterior.ensemble.generation, ledger.n_labels)
    workspace = session.workspace(state.run_id)
    return state.evolve(
        n_records=workspace.write_ledger(ledger), n_labels=len(labels), n_seeds=len(labels)
    )


def _check_fit(
    model: FineTunedModelDoc | PosteriorDoc,
    structure: Structure | Molecule,
    stages: Sequence[MDStage],
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
    return len(structure) / size


def _bring_weights(
    model: FineTunedModelDoc | PosteriorDoc, store: ArtifactStore, ours: ArtifactStore
) -> None:
    assert model.ensemble is not None
    for ref in ensemble_files(model.ensemble):
        if not ours.exists(ref):
            atomic_write(ours.path(ref), store.load_bytes(ref))


def _at_rest_or_warm(
    session: Session, state: RunState, structure: Structure | Molecule, member: int | None
) -> RunState:
    """Evaluate the initial structure, and give it velocities unless it must start at rest."""
    run = session.open(state.posterior)
    predictor = run.predictor(member)
    at = state_at_start(run, predictor, to_atoms(structure), (*run.key, "velocities"))
    trajectory = TrajectoryDoc(
        md_state=run.workspace.save_md_state(at.to_arrays()),
        n_steps=total_steps(state.posterior.spec.trajectories.stages),
        initial_volume=at.volume,
    )
    return state.with_trajectories([trajectory])
