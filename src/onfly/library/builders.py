"""Builders that fill the library's collections, and on a second run only add what is new.

Models and the states of runs come from the outputs of the jobs, so that workers need no database
of their own. Labels come from one place, the folder of their run, as a `LabelBatchDoc`: a run that
has ended puts it out by a job, and of other runs it is read here. All of them are maggma builders
and also run with ``mrun``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from jobflow import JobStore
from maggma.core import Builder, Store
from maggma.utils import grouper

from onfly.artifacts import RunWorkspace, list_runs
from onfly.artifacts.blobs import check_document_size
from onfly.library.documents import (
    aware,
    label_records,
    model_record,
    run_record,
    run_record_v0_1,
    weights_reference,
)
from onfly.library.indexes import (
    LABEL_INDEXES,
    MODEL_INDEXES,
    OUTPUT_INDEXES,
    RUN_INDEXES,
    ensure_indexes,
)
from onfly.schemas import FineTunedModelDoc, RunState
from onfly.schemas.label_batch import LabelBatchDoc
from onfly.session import Session
from onfly.settings import get_settings

__all__ = ["ModelBuilder", "RunBuilder", "RunFolderBuilder", "add_run"]

logger = logging.getLogger(__name__)

# jobs write their local time on machines whose clocks and time zones differ
CLOCK_MARGIN = timedelta(days=1)


class OutputBuilder(Builder):
    """Take documents of one type from the outputs of the jobs.

    Parameters
    ----------
    source
        Job store.
    target
        Collection.
    exhaustive
        Compare all outputs, not only those since the newest one that was taken.
    """

    doc_type: ClassVar[str]
    key: ClassVar[str]
    # what is read of every output before it is known whether it is new
    head_fields: ClassVar[tuple[str, ...]] = ("uuid", "index", "completed_at")

    def __init__(self, source: JobStore, target: Store, exhaustive: bool = False) -> None:
        self.source = source
        self.target = target
        self.exhaustive = exhaustive
        super().__init__(sources=[source], targets=[target], chunk_size=100)

    def ensure_indexes(self) -> None:
        """Create the indexes of source and target."""
        raise NotImplementedError

    def record(self, output: dict[str, Any], source: dict[str, Any]) -> dict[str, Any] | None:
        """Return the target's document of an output; None if a newer one is there."""
        raise NotImplementedError

    def wanted(self, heads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those outputs, of the ones that were not taken, that have to be read."""
        return heads

    def get_items(self) -> Iterator[dict[str, Any]]:
        """Yield the outputs that were not taken yet, in the order they were completed."""
        self.ensure_indexes()
        criteria: dict[str, Any] = {"output.doc_type": self.doc_type}
        taken_criteria: dict[str, Any] = {}
        newest = self.target.query_one(
            {"source.completed_at": {"$gt": ""}}, ["source"], sort={"source.completed_at": -1}
        )
        if newest is not None and not self.exhaustive:
            since = datetime.fromisoformat(newest["source"]["completed_at"]) - CLOCK_MARGIN
            criteria["completed_at"] = {"$gte": since.isoformat()}
            taken_criteria["source.completed_at"] = {"$gte": since.isoformat()}
        taken = {
            _identity(doc["source"])
            for doc in self.target.query(taken_criteria, ["source"])
            if doc.get("source")
        }
        heads = [
            doc
            for doc in self.source.query(criteria, list(self.head_fields), sort={"completed_at": 1})
            if _identity(doc) not in taken
        ]
        if not self.exhaustive:
            heads = self.wanted(heads)
        self.total = len(heads)
        for head in heads:
            yield from self.source.query(
                {"uuid": head["uuid"], "index": head["index"]}, load=False, limit=1
            )

    def process_item(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Turn a job's output into the target's document; a broken one is logged and left out."""
        source = {name: item[name] for name in ("uuid", "index", "completed_at")}
        try:
            return self.record(item["output"], source)
        except (KeyError, TypeError, ValueError) as error:  # a ValidationError is a ValueError
            logger.error(
                "output %s of job %s is no %s document and is left out: %r",
                item["index"],
                item["uuid"],
                self.doc_type,
                error,
            )
            return None

    def update_targets(self, items: Iterable[dict[str, Any] | None]) -> None:
        """Write the documents."""
        # the last one of a key wins: outputs come in the order of their completion
        latest = {item[self.key]: item for item in items if item is not None}
        if latest:
            self.target.update(list(latest.values()), key=self.key)

    def build(self) -> int:
        """Connect, process everything and return the number of outputs that were new."""
        self.connect()
        for chunk in grouper(self.get_items(), self.chunk_size):
            self.update_targets([self.process_item(item) for item in chunk if item is not None])
        return self.total or 0


class ModelBuilder(OutputBuilder):
    """Fill the collection of published models."""

    doc_type = "model"
    key = "model_id"

    def ensure_indexes(self) -> None:
        """Create the indexes of source and target."""
        ensure_indexes(self.source, OUTPUT_INDEXES)
        ensure_indexes(self.target, MODEL_INDEXES, unique="model_id")

    def record(self, output: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        """Return the model's document; its weights stay where the job put them."""
        reference = weights_reference(output)
        content = {k: v for k, v in output.items() if k != "weights"}
        content["created_at"] = aware(content["created_at"])
        return model_record(FineTunedModelDoc.model_validate(content), reference, source)


class RunBuilder(OutputBuilder):
    """Fill the collection of runs with the newest state of each that a job returned."""

    doc_type = "run"
    key = "run_id"
    head_fields = (*OutputBuilder.head_fields, "output.run_id", "output.updated_at")

    def ensure_indexes(self) -> None:
        """Create the indexes of source and target."""
        ensure_indexes(self.source, OUTPUT_INDEXES)
        ensure_indexes(self.target, RUN_INDEXES, unique="run_id")

    def wanted(self, heads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out all but the newest state of each run, and those that are there already.

        A run puts out many states, and its document names only one output as its source.
        """
        newest: dict[str, dict[str, Any]] = {}
        broken = []
        for head in heads:
            try:
                state = head["output"]
                run_id, date = state["run_id"], _to_milliseconds(aware(state["updated_at"]))
            except (KeyError, TypeError, ValueError):
                broken.append(head)  # `process_item` says what is wrong with it
                continue
            if run_id not in newest or date >= newest[run_id]["date"]:
                newest[run_id] = {"date": date, "head": head}
        for doc in self.target.query({"run_id": {"$in": list(newest)}}, ["run_id", "updated_at"]):
            if aware(doc["updated_at"]) >= newest[doc["run_id"]]["date"]:
                del newest[doc["run_id"]]
        return broken + [found["head"] for found in newest.values()]

    def record(self, output: dict[str, Any], source: dict[str, Any]) -> dict[str, Any] | None:
        """Return the run's document unless the collection has a newer one."""
        old = "posterior" not in output
        state = dict(output if old else output["posterior"])
        for name in ("created_at", "updated_at"):
            state[name] = aware(state[name])
        known = self.target.query_one({"run_id": state["run_id"]}, ["updated_at"])
        if known is not None and aware(known["updated_at"]) > state["updated_at"]:
            return None
        if old:
            return run_record_v0_1(state, source)
        return run_record(RunState.model_validate({**output, "posterior": state}), source)


class RunFolderBuilder(Builder):
    """Fill the collections of runs and labels from the folders of an artifact directory.

    Parameters
    ----------
    artifact_dir
        The artifact directory.
    runs, labels
        Collections.
    max_mb
        Largest document.
    """

    def __init__(
        self, artifact_dir: str | Path, runs: Store, labels: Store, max_mb: float = 12.0
    ) -> None:
        self.artifact_dir = str(artifact_dir)
        self.runs = runs
        self.labels = labels
        self.max_mb = max_mb
        self.n_new = 0
        super().__init__(sources=[], targets=[runs, labels], chunk_size=10)

    def get_items(self) -> Iterator[RunWorkspace]:
        """Yield the folders of all runs."""
        ensure_indexes(self.runs, RUN_INDEXES, unique="run_id")
        ensure_indexes(self.labels, LABEL_INDEXES, unique="label_id")
        found = list_runs(self.artifact_dir)
        self.total = len(found)
        yield from found

    def update_targets(self, items: Iterable[RunWorkspace | None]) -> None:
        """Write state and new labels of runs."""
        for workspace in items:
            if workspace is not None:
                self.n_new += add_run(workspace, self.runs, self.labels, self.max_mb)

    def build(self) -> int:
        """Connect, process everything and return the number of new labels."""
        self.connect()
        self.n_new = 0
        self.update_targets(self.get_items())
        return self.n_new


def add_run(workspace: RunWorkspace, runs: Store, labels: Store, max_mb: float) -> int:
    """Write the state and the new labels of one run; return the number of new labels.

    Raises
    ------
    DocumentTooLargeError
        If a document is larger than ``max_mb``.
    """
    run = workspace.read_state()
    known = {doc["index"] for doc in labels.query({"run_id": run.run_id}, ["index"])}
    session = Session(get_settings(ARTIFACT_DIR=workspace.store.root))
    new = []
    if run.posterior.n_labels > len(known):
        found = session.open(run.posterior).labels_in_context()
        new = [label for label in found if label.index not in known]
    first = min((label.index or 0 for label in new), default=0)
    batch = LabelBatchDoc(
        run_id=run.run_id, campaign=run.posterior.campaign, first=first, labels=new
    )
    records = label_records(batch)
    for record in records:
        check_document_size(record, max_mb, f"label {record['label_id']}")
    if records:
        labels.update(records, key="label_id")
    stored = runs.query_one({"run_id": run.run_id}, ["updated_at"])
    if stored is None or aware(stored["updated_at"]) < _to_milliseconds(run.updated_at):
        record = run_record(run)
        check_document_size(record, max_mb, f"run {run.run_id}")
        runs.update(record, key="run_id")
    return len(new)


def _identity(doc: dict[str, Any]) -> tuple[str, int, str]:
    return doc["uuid"], doc["index"], doc["completed_at"]


def _to_milliseconds(date: datetime) -> datetime:
    """Return a date as precise as the database keeps it."""
    return date.replace(microsecond=date.microsecond // 1000 * 1000)
