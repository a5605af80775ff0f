"""The library of fine-tuned models: "which do I have, how good are they, give me CaZrS3"."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Self

from ase import Atoms
from jobflow import JobStore
from maggma.core import Store
from pymatgen.core import Composition, Molecule, Structure

from onfly.artifacts import ArtifactStore, RunWorkspace
from onfly.artifacts.blobs import check_document_size
from onfly.library.builders import ModelBuilder, RunBuilder, RunFolderBuilder, add_run
from onfly.library.calculator import PosteriorCalculator
from onfly.library.criteria import Range, model_criteria, reduced_formula
from onfly.library.documents import model_from_record, model_record, models_from_records
from onfly.library.fit import ModelNotFoundError, check_fit
from onfly.library.indexes import LABEL_INDEXES, MODEL_INDEXES, RUN_INDEXES, ensure_indexes
from onfly.library.label_builder import LabelBuilder
from onfly.library.loading import build_calculator
from onfly.library.search import search
from onfly.library.weights import fetch_weights, store_weights, weights_place
from onfly.schemas import FineTunedModelDoc
from onfly.settings import OnflySettings, get_settings
from onfly.stores import job_store, sibling
from onfly.stores.factory import data_store

__all__ = ["ModelLibrary"]

logger = logging.getLogger(__name__)

NEWEST_FIRST = {"created_at": -1}


class ModelLibrary:
    """Published models, their labels and runs, next to the outputs of the jobs.

    Examples
    --------
    >>> library = ModelLibrary.from_settings()
    >>> [(m.model_id, m.state) for m in library.query(formula="CuAu", temperature=300)]
    [('CuAu-f716e6da3f4e', 'needs more audits')]
    >>> model = library.latest("CuAu")
    >>> atoms = model.structure.to_ase_atoms(msonable=False)
    >>> atoms.calc = library.calculator(model.model_id, structure=atoms, temperature=300)
    >>> print(f"{atoms.get_potential_energy():.3f} eV")
    0.113 eV
    >>> library.calculator(model.model_id, temperature=1500)
    Traceback (most recent call last):
    onfly.library.fit.ModelMismatchError: model CuAu-f716e6da3f4e does not fit: ...

    Parameters
    ----------
    models_store
        Collection of the models, key ``model_id``.
    data_store
        Additional store `data` of the jobs, with the weights; key ``blob_uuid``.
    artifact_store
        Files on this machine; weights that are not there are taken from the data store.
    labels_store, runs_store
        Collections of labels and runs; optional.
    settings
        Of the machine; None reads them.

    Raises
    ------
    ModelNotFoundError, ModelMismatchError
        There is no such model; or, by `calculator`, it does not fit compound or temperature.
    """

    def __init__(
        self,
        models_store: Store,
        data_store: Store,
        artifact_store: ArtifactStore,
        labels_store: Store | None = None,
        runs_store: Store | None = None,
        settings: OnflySettings | None = None,
    ) -> None:
        self.models_store = models_store
        self.data_store = data_store
        self.artifact_store = artifact_store
        self.labels_store = labels_store
        self.runs_store = runs_store
        self.settings = settings or get_settings()
        for store in (models_store, data_store, labels_store, runs_store):
            if store is not None:
                store.connect()

    @classmethod
    def from_settings(cls, settings: OnflySettings | None = None, *, refresh: bool = True) -> Self:
        """Return the library of this machine's stores.

        Parameters
        ----------
        settings
            None reads them.
        refresh
            Whether to take in what jobs have published since; see `refresh`.
        """
        return cls.from_job_store(job_store(settings), settings, refresh=refresh)

    @classmethod
    def from_job_store(
        cls, store: JobStore, settings: OnflySettings | None = None, *, refresh: bool = True
    ) -> Self:
        """Return the library next to a job store."""
        settings = settings or get_settings()
        docs, data = store.docs_store, data_store(store)
        library = cls(
            sibling(docs, settings.MODELS_COLLECTION, "model_id"),
            data,
            ArtifactStore(settings.ARTIFACT_DIR),
            sibling(docs, settings.LABELS_COLLECTION, "label_id"),
            sibling(docs, settings.RUNS_COLLECTION, "run_id"),
            settings,
        )
        if refresh:
            library.refresh(store)
        return library

    # -- filling ------------------------------------------------------------------------------
    def ensure_indexes(self) -> None:
        """Create the indexes of all collections, unless they are there."""
        ensure_indexes(self.models_store, MODEL_INDEXES, unique="model_id")
        if self.labels_store is not None:
            ensure_indexes(self.labels_store, LABEL_INDEXES, unique="label_id")
        if self.runs_store is not None:
            ensure_indexes(self.runs_store, RUN_INDEXES, unique="run_id")

    def refresh(self, store: JobStore) -> int:
        """Take in the outputs that were added to a job store; return how many were new."""
        count = ModelBuilder(store, self.models_store).build()
        if self.runs_store is not None:
            count += RunBuilder(store, self.runs_store).build()
        if self.labels_store is not None:
            count += LabelBuilder(store, self.labels_store).build()
        return count

    def publish(self, doc: FineTunedModelDoc) -> None:
        """Add a model that no job published, or replace it; weights go to the data store.

        Raises
        ------
        ValueError
            If the document carries no weights.
        DocumentTooLargeError
            If the document without them is too large.
        """
        if not doc.weights:
            raise ValueError(
                f"model {doc.model_id} has no weights to publish: set "
                "weights=ensemble_to_blobs(artifact_store, *doc.ensembles)"
            )
        known = self.models_store.query_one({"model_id": doc.model_id}, ["source"]) or {}
        # of one that a job put out, the output is not taken again
        record = model_record(doc, weights_place(doc), known.get("source"))
        check_document_size(record, self.settings.MAX_DOC_MB, f"model {doc.model_id}")
        # weights first: a model in the collection can always be loaded
        store_weights(doc, self.data_store)
        self.ensure_indexes()
        self.models_store.update(record, key="model_id")

    def add_run(self, workspace: RunWorkspace) -> int:
        """Add state and labels of a run from its folder; return the number of new labels.

        Raises
        ------
        ValueError
            If the library has no collections of labels and runs.
        """
        runs, labels = self._runs_and_labels()
        self.ensure_indexes()
        return add_run(workspace, runs, labels, max_mb=self.settings.MAX_DOC_MB)

    def add_runs(self) -> int:
        """Add state and labels of all runs in the artifact directory; return the new labels."""
        runs, labels = self._runs_and_labels()
        root, max_mb = self.artifact_store.root, self.settings.MAX_DOC_MB
        return RunFolderBuilder(root, runs, labels, max_mb).build()

    def _runs_and_labels(self) -> tuple[Store, Store]:
        if self.labels_store is None or self.runs_store is None:
            raise ValueError("this library was opened without collections of labels and runs")
        return self.runs_store, self.labels_store

    # -- finding ------------------------------------------------------------------------------
    def records(
        self,
        *,
        properties: Sequence[str] | None = None,
        sort: dict[str, int] | None = None,
        limit: int = 0,
        **criteria: Any,
    ) -> list[dict[str, Any]]:
        """Return documents as they are stored, or some fields of them; criteria as in `query`."""
        found = search(
            self.models_store,
            model_criteria(**criteria),
            properties=properties,
            sort=sort or NEWEST_FIRST,
            limit=limit,
        )
        return [{k: v for k, v in doc.items() if k != "_id"} for doc in found]

    def query(
        self,
        *,
        formula: str | None = None,
        chemsys: str | None = None,
        elements: Sequence[str] | None = None,
        foundation_model: str | None = None,
        level_of_theory: str | None = None,
        threshold_ev: Range | None = None,
        temperature: Range | None = None,
        min_coverage: float | None = None,
        campaign: str | None = None,
        state: str | Sequence[str] | None = None,
        limit: int = 0,
        **criteria: Any,
    ) -> list[FineTunedModelDoc]:
        """Return the models that match, the newest first; damaged documents are logged.

        Parameters
        ----------
        formula
            Any spelling; compared by the reduced formula.
        chemsys
            Such as ``"Ca-S-Zr"``: exactly these elements.
        elements
            All of these must be in it.
        foundation_model, level_of_theory, campaign
            As published.
        threshold_ev
            Largest threshold in eV, or a range ``(low, high)`` with None for an open end.
        temperature
            K, one or a range: must lie within the range of the model.
        min_coverage
            Least fraction of audits within the threshold.
        state
            ``"ready"``, ``"not accurate enough"``, ``"needs more audits"``, ``"stopped"``, or
            several of them.
        limit
            Number of models; 0 gives all.
        **criteria
            Further conditions in MongoDB's query language, by field.
        """
        records = self.records(
            formula=formula,
            chemsys=chemsys,
            elements=elements,
            foundation_model=foundation_model,
            level_of_theory=level_of_theory,
            threshold_ev=threshold_ev,
            temperature=temperature,
            min_coverage=min_coverage,
            campaign=campaign,
            state=state,
            limit=limit,
            **criteria,
        )
        return models_from_records(records)

    def get(self, model_id: str) -> FineTunedModelDoc:
        """Return a model by its id.

        Raises
        ------
        ModelNotFoundError
            If there is none.
        """
        return model_from_record(self._record(model_id))

    def latest(
        self,
        formula: str,
        *,
        level_of_theory: str | None = None,
        temperature: float | tuple[float, float] | None = None,
        allow_mismatch: bool = False,
        state: str | Sequence[str] | None = None,
        **criteria: Any,
    ) -> FineTunedModelDoc:
        """Return the newest model of a compound, a proven one if there is one.

        Parameters
        ----------
        formula
            Of the compound.
        level_of_theory, temperature
            What the model is wanted for; one that does not fit is refused.
        allow_mismatch
            Take the newest even if these do not fit.
        state
            None takes a ``"ready"`` model, and if there is none one that needs more audits.
        **criteria
            As in `query`.

        Raises
        ------
        ModelNotFoundError
            If there is none; the message says what there is.
        ModelMismatchError
            If there are models of the compound, but none that fits.
        """
        states = ("ready", "needs more audits") if state is None else (state,)
        task: dict[str, Any] = {"level_of_theory": level_of_theory, "temperature": temperature}
        fitting = {} if allow_mismatch else task
        for wanted in states:
            found = self.query(formula=formula, state=wanted, limit=1, **fitting, **criteria)
            if found:
                if wanted != "ready" and state is None:
                    logger.warning("audits do not prove model %s yet", found[0].model_id)
                return found[0]
            if other := self.query(formula=formula, state=wanted, limit=1, **criteria):
                check_fit(other[0], level_of_theory=level_of_theory, temperature=temperature)
        raise ModelNotFoundError(self._nothing(formula, states))

    def calculator(
        self,
        model_id: str,
        device: str | None = None,
        *,
        structure: Structure | Molecule | Atoms | Composition | str | None = None,
        level_of_theory: str | None = None,
        temperature: float | Sequence[float] | None = None,
        allow_mismatch: bool = False,
        **kwargs: Any,
    ) -> PosteriorCalculator:
        """Return the ASE calculator of a model.

        Parameters
        ----------
        model_id
            Of the model.
        device
            Torch device; None takes that of the settings.
        structure, level_of_theory, temperature
            What it is wanted for; a model that does not fit is refused.
        allow_mismatch
            Take it all the same.
        **kwargs
            Of `onfly.library.loading.build_calculator`.

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        ModelMismatchError
            If it does not fit.
        ArtifactError
            If its weights are missing or were changed.
        """
        record = self._record(model_id)
        check_fit(
            model_from_record(record),
            allow_mismatch=allow_mismatch,
            structure=structure,
            level_of_theory=level_of_theory,
            temperature=temperature,
        )
        return build_calculator(
            self._load(record), self.artifact_store, device or self.settings.DEVICE, **kwargs
        )

    def fetch_weights(self, model_id: str) -> FineTunedModelDoc:
        """Make sure that the weights of a model are on this machine, and return the model."""
        return self._load(self._record(model_id))

    # -- inside -------------------------------------------------------------------------------
    def _record(self, model_id: str) -> dict[str, Any]:
        record = self.models_store.query_one({"model_id": model_id})
        if record is None:
            raise ModelNotFoundError(
                f"no model {model_id!r} in {self.models_store.name}: `onfly models list` shows "
                "what there is"
            )
        return record

    def _load(self, record: dict[str, Any]) -> FineTunedModelDoc:
        doc = model_from_record(record)
        reference = record.get("weights_reference")
        fetch_weights(doc, reference, self.data_store, self.artifact_store)
        return doc

    def _nothing(self, formula: str, states: Sequence[Any]) -> str:
        message = f"no model of {reduced_formula(formula)} in state {' or '.join(map(str, states))}"
        other = self.records(formula=formula, properties=["model_id", "state"], limit=3)
        if other:
            there = ", ".join(f"{r['model_id']} ({r['state']})" for r in other)
            return f"{message}; there is {there}: name the state to take one"
        return f"{message}: fine-tune one with `onfly run`, or check the spelling"
