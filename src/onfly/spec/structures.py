"""Where the structures of a campaign come from.

Only what a file says is checked here; the databases and the structures are opened by `read`, which
imports maggma and pymatgen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec

__all__ = ["QuerySpec", "StructuresSpec"]


class QuerySpec(Spec):
    """Structures from a collection of a database."""

    store: dict[str, Any] = Field(
        description="A maggma store: `type`, such as `MongoStore`, and its arguments."
    )
    criteria: dict[str, Any] = Field(
        default_factory=dict, description="Which documents, as in MongoDB."
    )
    field: str = Field("structure", description="Where a document keeps the structure.")
    limit: int = Field(0, ge=0, description="Most documents; `0` takes all.")

    @field_validator("store")
    @classmethod
    def _typed(cls, value: dict[str, Any]) -> dict[str, Any]:
        kind = value.get("type")
        if not (isinstance(kind, str) and kind.isidentifier()):
            raise ValueError(
                f"store type {kind!r} is not the name of a maggma store; MongoStore is one"
            )
        return value


class StructuresSpec(Spec):
    """Where the structures come from; several sources may be given."""

    files: tuple[str, ...] = Field(
        (), description="Files or patterns, relative to the configuration file."
    )
    pymatgen: Path | None = Field(
        None, description="JSON file (may be .gz) with a list of pymatgen structures."
    )
    query: QuerySpec | None = Field(None, description="Documents of a database.")
    periodic: bool | None = Field(
        None, description="For files that have a cell but say that no direction is periodic."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"files": value} if isinstance(value, str | list | tuple) else value

    @field_validator("files", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _any(self) -> StructuresSpec:
        if not (self.files or self.pymatgen or self.query):
            raise ValueError("give structures as `files`, `pymatgen` or `query`")
        return self
