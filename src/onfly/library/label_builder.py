"""The builder that fills the collection of labels from the outputs of the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onfly.library.builders import OutputBuilder
from onfly.library.documents import aware, label_records
from onfly.library.indexes import LABEL_INDEXES, OUTPUT_INDEXES, ensure_indexes
from onfly.schemas.label_batch import LabelBatchDoc

__all__ = ["LabelBuilder"]


class LabelBuilder(OutputBuilder):
    """Fill the collection of labels with those that ended runs have put out."""

    doc_type = "labels"
    key = "label_id"

    def ensure_indexes(self) -> None:
        """Create the indexes of source and target."""
        ensure_indexes(self.source, OUTPUT_INDEXES)
        ensure_indexes(self.target, LABEL_INDEXES, unique="label_id")

    def record(self, output: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        """Return the documents of all labels of an output."""
        labels = [c | {"created_at": aware(c["created_at"])} for c in output["labels"]]
        batch = LabelBatchDoc.model_validate(output | {"labels": labels})
        return {"records": label_records(batch, source)}

    def update_targets(self, items: Iterable[dict[str, Any] | None]) -> None:
        """Write the documents of all labels."""
        super().update_targets(
            [record for item in items if item is not None for record in item["records"]]
        )
