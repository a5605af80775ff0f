"""Properties that were measured of a model of the library, after it was published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onfly.library.models import ModelNotFoundError
from onfly.schemas.properties import PropertiesDoc

if TYPE_CHECKING:
    from onfly.library.models import ModelLibrary

__all__ = ["set_properties"]


def set_properties(library: ModelLibrary, model_id: str, properties: PropertiesDoc) -> None:
    """Write properties into the document of a model; those of the same kinds are replaced.

    Parameters
    ----------
    library
        That has the model.
    model_id
        Of the model.
    properties
        What was measured.

    Raises
    ------
    ModelNotFoundError
        If there is no such model.
    """
    store = library.models_store
    record = store.query_one({"model_id": model_id})
    if record is None:
        raise ModelNotFoundError(f"no model {model_id!r} in {store.name}")
    merged = properties
    if (old := record.get("properties")) is not None:
        merged = merged_properties(PropertiesDoc.model_validate(old), properties)
    record["properties"] = merged.model_dump(mode="json")
    record["last_updated"] = datetime.now(UTC)
    record.pop("_id", None)
    store.update(record, key="model_id")


def merged_properties(old: PropertiesDoc, new: PropertiesDoc) -> PropertiesDoc:
    """Return the new properties, and the old ones of other kinds if the crystal is the same."""
    same = (
        old.structure is not None
        and new.structure is not None
        and len(old.structure) == len(new.structure)
        and old.structure.composition == new.structure.composition
    )
    measured = {found.kind for found in new.properties}
    kept = [found for found in old.properties if same and found.kind not in measured]
    return new.model_copy(
        update={"properties": [*kept, *new.properties], "n_labels": new.n_labels + old.n_labels}
    )
