"""Class models that jobs put out, into the collection where they are found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from onfly.classes.document import ClassModelDoc
from onfly.library.builders import OutputBuilder
from onfly.library.documents import aware, plain, weights_reference
from onfly.library.indexes import OUTPUT_INDEXES, Index, ensure_indexes

__all__ = ["CLASS_INDEXES", "ClassBuilder", "class_from_record", "class_record"]

CLASS_INDEXES: tuple[Index, ...] = (
    (("class_id", 1),),
    (("name", 1), ("version", -1)),
    (("source.completed_at", -1),),
)
_EXTRA = {"_id", "weights_reference", "source", "last_updated"}


def class_record(
    doc: ClassModelDoc, weights: dict[str, str] | None, source: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the document as the collection keeps it: without weights, with where they are."""
    return plain(
        doc.model_copy(update={"weights": None}).model_dump()
        | {"weights_reference": weights, "source": source, "last_updated": datetime.now(UTC)}
    )


def class_from_record(record: dict[str, Any]) -> ClassModelDoc:
    """Return the class model of a document of the collection.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    content = {k: v for k, v in record.items() if k not in _EXTRA}
    if "created_at" in content:
        content["created_at"] = aware(content["created_at"])
    return ClassModelDoc.model_validate(content)


class ClassBuilder(OutputBuilder):
    """Fill the collection of class models from the outputs of jobs."""

    doc_type = "class_model"
    key = "class_id"

    def ensure_indexes(self) -> None:
        """Create the indexes of source and target."""
        ensure_indexes(self.source, OUTPUT_INDEXES)
        ensure_indexes(self.target, CLASS_INDEXES, unique="class_id")

    def record(self, output: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        """Return the model's document; its weights stay where the job put them."""
        reference = weights_reference(output)
        content = {k: v for k, v in output.items() if k != "weights" and not k.startswith("@")}
        content["created_at"] = aware(content["created_at"])
        return class_record(ClassModelDoc.model_validate(content), reference, source)
