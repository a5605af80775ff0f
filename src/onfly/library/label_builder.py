"""The builder that fills the collection of labels from the outputs of the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onfly.library.builders import OutputBuilder
from onfly.library.documents import aware, label_record
from onfly.library.indexes import LABEL_INDEXES, OUTPUT_INDEXES, ensure_indexes
from onfly.schemas.label import LabelDoc

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
        records = []
        for content in output["labels"]:
            label = LabelDoc.model_validate(content | {"created_at": aware(content["created_at"])})
            records.append(label_record(label, output["campaign"]) | {"source": source})
        return {"records": records}

    def update_targets(self, items: Iterable[dict[str, Any] | None]) -> None:
        """Write the documents of all labels."""
        super().update_targets(
            [record for item in items if item is not None for record in item["records"]]
        )
