"""From a document and its files to a calculator."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError

from onfly.artifacts import ArtifactError, ArtifactStore, load_ensemble
from onfly.artifacts.workspace import state_from_json
from onfly.bayes.calibration import Calibration
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.library.calculator import EnergyScale, PosteriorCalculator
from onfly.library.energy_offset import EnergyOffset
from onfly.library.trust import load_named_foundation
from onfly.potentials.stacked import Strategy
from onfly.schemas import EnsembleDoc, FineTunedModelDoc, PosteriorDoc, RunState
from onfly.schemas.foreign import foreign_objects

__all__ = ["build_calculator", "find_model", "read_document"]

logger = logging.getLogger(__name__)

Weights = Literal["proven", "refit"]
DocT = TypeVar("DocT", bound=BaseModel)


def build_calculator(
    doc: FineTunedModelDoc | PosteriorDoc,
    store: ArtifactStore,
    device: str = "cpu",
    *,
    foundation_model: str | None = None,
    strategy: str | None = None,
    trust_pickle: bool = False,
    energy_scale: EnergyScale = "labels",
    weights: Weights = "proven",
) -> PosteriorCalculator:
    """Build the calculator of a published model, or of the present state of a run.

    Parameters
    ----------
    doc
        The model or the run.
    store
        Where its weights are.
    device
        Torch device.
    foundation_model
        Path of the foundation model on this machine, if it is another than on that of the run.
    strategy
        How members are evaluated (see `Predictor`); None takes that of the run.
    trust_pickle
        Whether the foundation model may be a pickled file, which runs code when it is loaded.
    energy_scale
        ``"labels"``, or ``"foundation"`` for energies without the offset; see
        `PosteriorCalculator`.
    weights
        ``"proven"`` are those that the verdict is about; ``"refit"`` were fitted afterwards to all
        labels, those of the proof among them, and nothing is proven of them.

    Returns
    -------
    PosteriorCalculator
        Results in eV, eV/Å and eV/Å³.

    Raises
    ------
    UntrustedFileError
        If the foundation model is a pickled file and ``trust_pickle`` is False.
    ValueError
        If the run has no ensemble yet, there is no refit, or the foundation model is another one.
    ArtifactError
        If weights are missing or were changed.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> library = ModelLibrary.from_settings()
    >>> build_calculator(library.latest("CuAu"), library.artifact_store).model_name
    'CuAu-f716e6da3f4e'
    """
    name = doc.model_id if isinstance(doc, FineTunedModelDoc) else f"run {doc.run_id}"
    if doc.ensemble is None or doc.energy_offset is None:
        raise ValueError(f"{name} has no ensemble yet: its first label has not come")
    ensemble = _ensemble(doc, weights, name)
    potential = load_named_foundation(
        foundation_model or doc.foundation_model,
        elements=tuple(sorted({str(element) for element in doc.elements or []})),
        device=device,
        trust_pickle=trust_pickle,
        sha256=getattr(doc, "foundation_sha256", None),
        source=name,
    )
    predictor = Predictor(
        potential,
        posterior_from_dict({"kind": ensemble.posterior, **ensemble.settings}),
        load_ensemble(store, ensemble, device),
        LikelihoodScales.for_threshold(doc.threshold_ev, doc.energy_std),
        strategy=cast("Strategy", strategy or ensemble.strategy),
    )
    return PosteriorCalculator(
        predictor,
        offset=EnergyOffset.from_document(doc),
        calibration=Calibration(**doc.calibration.model_dump()),
        threshold=doc.threshold_ev,
        name=name,
        energy_scale=energy_scale,
    )


def _ensemble(doc: FineTunedModelDoc | PosteriorDoc, weights: Weights, name: str) -> EnsembleDoc:
    if weights not in ("proven", "refit"):
        raise ValueError(f"weights {weights!r} are neither 'proven' nor 'refit'")
    if weights == "refit" and doc.refit is None:
        raise ValueError(
            f"{name} has no refit: a run that is ready makes one, unless proof.refit is false"
        )
    found = doc.refit if weights == "refit" else doc.ensemble
    assert found is not None
    return found


def find_model(
    path: Path, artifact_dir: Path
) -> tuple[FineTunedModelDoc | PosteriorDoc, ArtifactStore]:
    """Return the document at a path, and the store that has its weights.

    Parameters
    ----------
    path
        Folder of a run, folder or JSON file of an exported model.
    artifact_dir
        Where its weights are if they are not beside it.

    Returns
    -------
    tuple
        The document, and the store of its weights.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ArtifactError
        If the document is damaged.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> root = get_settings().ARTIFACT_DIR
    >>> doc, store = find_model(root / "runs" / "v0-1", root)
    >>> doc.model_id
    'CuAu-f716e6da3f4e'
    """
    folder = path if path.is_dir() else path.parent
    doc: FineTunedModelDoc | PosteriorDoc
    if path.is_file():
        doc = read_document(FineTunedModelDoc, path)
    elif (path / "model.json").is_file():
        doc = read_document(FineTunedModelDoc, path / "model.json")
    elif (path / "run.json").is_file():
        doc = _read_state(path / "run.json").posterior
        logger.warning("run %s is not published: nothing proves its accuracy", doc.run_id)
    else:
        raise FileNotFoundError(
            f"no model at {path}: give the folder of a run (with model.json or run.json), or the "
            "folder or JSON file of an exported model"
        )
    # weights lie beside an exported model, two levels above a run's folder, or in our directory
    candidates = [folder.absolute(), folder.absolute().parent.parent, artifact_dir]
    stores = [ArtifactStore(root) for root in candidates]
    for store in stores:
        if doc.ensemble is not None and all(store.exists(ref) for ref in doc.ensemble.members):
            return doc, store
    return doc, stores[-1]


def _read_state(path: Path) -> RunState:
    """Read the state of a run; errors as from `read_document`, and for those of version 0.1."""
    data = path.read_bytes()
    try:
        if foreign := sorted(foreign_objects(json.loads(data))):
            raise ArtifactError(_refused(path, foreign))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
    return state_from_json(data, path)


def read_document(cls: type[DocT], path: Path) -> DocT:
    """Read a document from a JSON file.

    Raises
    ------
    ArtifactError
        If it is damaged, is of another kind, or names objects other than structures.
    """
    remedy = (
        "take it from a backup, or publish the run again from its folder (labels and weights are "
        "files of their own there)"
    )
    try:
        content = json.loads(path.read_bytes())
        if foreign := sorted(foreign_objects(content)):
            raise ArtifactError(_refused(path, foreign))
        return cls.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ArtifactError(
            f"{path} is damaged or no {cls.__name__} ({where}: {first['msg']}): {remedy}"
        ) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} is damaged ({error}): {remedy}") from None


def _refused(path: Path, foreign: list[str]) -> str:
    return (
        f"{path} names objects of {', '.join(foreign)}, which no document of ours does: it is "
        "refused, since decoding it would import them"
    )
