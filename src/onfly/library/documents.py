"""How models, labels and runs are written to the library's collections, and read from them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from monty.json import jsanitize

from onfly.schemas import FineTunedModelDoc, LabelDoc, RunState
from onfly.schemas.label_batch import LabelBatchDoc

__all__ = [
    "aware",
    "label_record",
    "label_records",
    "model_from_record",
    "model_record",
    "models_from_records",
    "plain",
    "run_record",
    "run_record_v0_1",
    "weights_reference",
]

logger = logging.getLogger(__name__)


def weights_reference(output: dict[str, Any]) -> dict[str, str] | None:
    """Return where jobflow put the weights of an output: blob_uuid and store name."""
    weights = output.get("weights")
    if isinstance(weights, dict) and "blob_uuid" in weights:
        return {"blob_uuid": weights["blob_uuid"], "store": weights.get("store", "data")}
    return None


def model_record(
    doc: FineTunedModelDoc,
    weights: dict[str, str] | None,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of the model collection: without weights, with fields for queries.

    Parameters
    ----------
    doc
        The model.
    weights
        Reference to its weights in the `data` store.
    source
        The job's output it comes from.
    """
    low, high = doc.temperature_range or (None, None)
    record = doc.model_copy(update={"weights": None}).model_dump()
    return plain(
        record
        | {
            "elements": [str(element) for element in doc.elements or []],
            "temperature_min": low,
            "temperature_max": high,
            "weights_reference": weights,
            "source": source,
            "last_updated": datetime.now(UTC),
        }
    )


def model_from_record(record: dict[str, Any]) -> FineTunedModelDoc:
    """Return the model of a document of the model collection."""
    extra = {"_id", "temperature_min", "temperature_max", "weights_reference", "source"}
    content = {k: v for k, v in record.items() if k not in extra}
    content["created_at"] = aware(content["created_at"])
    return FineTunedModelDoc.model_validate(content)


def models_from_records(records: Iterable[dict[str, Any]]) -> list[FineTunedModelDoc]:
    """Return the models of documents; one that is damaged is logged, and hides no other."""
    found = []
    for record in records:
        try:
            found.append(model_from_record(record))
        except (KeyError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            logger.error(
                "the document of model %s is damaged (%s): `onfly doctor --verify` says what to do",
                record.get("model_id"),
                first,
            )
    return found


def label_record(label: LabelDoc, campaign: str | None = None) -> dict[str, Any]:
    """Return the document of the label collection."""
    identity = {
        "label_id": f"{label.run_id}-{label.index:05d}"
        if label.run_id is not None and label.index is not None
        else label.structure_hash,
        "campaign": campaign,
        "elements": [str(element) for element in label.elements or []],
        "last_updated": datetime.now(UTC),
    }
    return plain(label.model_dump() | identity)


def label_records(
    batch: LabelBatchDoc, source: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the documents of the label collection, which are made here only.

    Parameters
    ----------
    batch
        Labels from the folder of a run, read there or put out by a job of the run.
    source
        The job's output, if it was one.
    """
    return [
        label_record(label, batch.campaign) | ({} if source is None else {"source": source})
        for label in batch.labels
    ]


def run_record(run: RunState, source: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the document of the run collection: the posterior's fields, and the trajectories."""
    return plain(
        run.posterior.model_dump()
        | {
            "doc_type": "run",
            "foundation_model": run.posterior.foundation_model,
            "trajectories": [trajectory.model_dump() for trajectory in run.trajectories],
            "md_step": run.md_step,
            "n_steps_total": run.n_steps_total,
            "n_failures": run.n_failures,
            "failures": run.failures,
            "source": source,
            "elements": [str(element) for element in run.posterior.elements or []],
            "last_updated": datetime.now(UTC),
        }
    )


def run_record_v0_1(content: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Return the document of the run collection from the state of a run of version 0.1.

    Its fields stay as they were: nothing goes on from them, they are only listed.
    """
    return plain(content | {"source": source, "last_updated": datetime.now(UTC)})


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a document as the database takes it."""
    # dates stay dates, so that they sort; enums and numpy numbers become plain
    return jsanitize(record, strict=True, allow_bson=True, enum_values=True)


def aware(value: datetime | str) -> datetime:
    """Return a date as UTC: databases give it back without a time zone."""
    date = datetime.fromisoformat(value) if isinstance(value, str) else value
    return date if date.tzinfo else date.replace(tzinfo=UTC)
