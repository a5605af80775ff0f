"""The configuration file of a campaign: validated as a whole before anything is submitted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import maggma.stores
from maggma.core import Store
from monty.io import zopen
from pydantic import Field, field_validator, model_validator
from pymatgen.core import Molecule, Structure

from onfly.flows.campaign import CampaignMaker
from onfly.flows.config import LabellerConfig, RunSettings, StageConfig, _Strict, read_structure

__all__ = ["CampaignConfig", "StructuresConfig"]


class QueryConfig(_Strict):
    """Structures from a collection of a database."""

    store: dict[str, Any] = Field(
        description="A maggma store: `type`, such as MongoStore, and its arguments."
    )
    criteria: dict[str, Any] = Field(default_factory=dict)
    field: str = Field("structure", description="Where a document keeps the structure.")
    limit: int = Field(0, ge=0, description="0 takes all.")

    @field_validator("store")
    @classmethod
    def _store_exists(cls, value: dict[str, Any]) -> dict[str, Any]:
        kind = value.get("type")
        found = getattr(maggma.stores, str(kind), None)
        if not (isinstance(found, type) and issubclass(found, Store)):
            raise ValueError(f"store type {kind!r} is no maggma store; MongoStore is one")
        return value

    def structures(self) -> list[Structure | Molecule]:
        """Return the structures of all documents that match."""
        spec = dict(self.store)
        store = getattr(maggma.stores, spec.pop("type"))(**spec)
        found: list[Structure | Molecule] = []
        store.connect()
        try:
            for doc in store.query(self.criteria, [self.field], limit=self.limit):
                value: Any = doc
                for part in self.field.split("."):
                    value = value.get(part) if isinstance(value, dict) else None
                found.append(_from_dict(value, f"field {self.field!r} of a document"))
        finally:
            store.close()
        if not found:
            raise ValueError(f"the query {self.criteria} finds no document")
        return found


class StructuresConfig(_Strict):
    """Where the structures come from; several sources may be given."""

    files: list[str] = Field(
        default_factory=list, description="Files or patterns, relative to the configuration file."
    )
    pymatgen: Path | None = Field(
        None, description="JSON file (may be .gz) with a list of pymatgen structures."
    )
    query: QueryConfig | None = None
    periodic: bool | None = Field(None, description="For files that leave it open; see `run`.")

    @field_validator("files", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _any(self) -> StructuresConfig:
        if not (self.files or self.pymatgen or self.query):
            raise ValueError("give structures as `files`, `pymatgen` or `query`")
        return self

    def read(self, folder: Path) -> list[Structure | Molecule]:
        """Return all structures.

        Parameters
        ----------
        folder
            To which paths are relative.

        Raises
        ------
        ValueError
            If a file cannot be read, or a pattern or the query finds nothing.
        """
        found: list[Structure | Molecule] = []
        for pattern in self.files:
            paths = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else []
            if Path(pattern).is_absolute():
                anchor = Path(Path(pattern).anchor)
                paths = sorted(anchor.glob(str(Path(pattern).relative_to(anchor))))
            if not paths:
                raise ValueError(f"no file {pattern} in {folder}")
            found += [read_structure(path, self.periodic) for path in paths if path.is_file()]
        if self.pymatgen is not None:
            found += _read_pymatgen(folder / self.pymatgen)
        if self.query is not None:
            found += self.query.structures()
        return found


class OverrideConfig(RunSettings):
    """What is different for one compound; only what is given counts."""

    threshold: str = Field(None, description="With unit.")  # type: ignore[assignment]
    labeller: LabellerConfig = Field(None)  # type: ignore[assignment]
    stages: list[StageConfig] = Field(None, min_length=1)  # type: ignore


class WorkersConfig(_Strict):
    """Which workers take the jobs; see `onfly.flows.route_jobs`."""

    gpu: dict[str, Any] | None = None
    cpu: dict[str, Any] | None = None


class CampaignConfig(RunSettings):
    """Everything about a campaign: structures, workers, and the settings of its runs."""

    campaign: str = Field(description="Name, by which runs and models are found.")
    structures: StructuresConfig = Field(
        description="Files or patterns; or `files`, `pymatgen`, `query`."
    )
    overrides: dict[str, OverrideConfig] = Field(
        default_factory=dict, description="By formula or run identifier: settings that differ."
    )
    workers: WorkersConfig = Field(default_factory=WorkersConfig)
    mode: Literal["resident", "chained"] = "chained"

    @field_validator("campaign")
    @classmethod
    def _can_name_folders(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", value):
            raise ValueError(
                f"{value!r} cannot name folders: use letters, digits, '.', '_', '+' and '-'"
            )
        return value

    @field_validator("structures", mode="before")
    @classmethod
    def _files(cls, value: Any) -> Any:
        return {"files": value} if isinstance(value, str | list) else value

    def settings_for(self, key: str) -> RunSettings:
        """Return the settings of the compounds that an override names."""
        override = self.overrides[key]
        changes = {name: getattr(override, name) for name in override.model_fields_set}
        return self.model_copy(update=changes)

    def maker(self) -> CampaignMaker:  # type: ignore[override]
        """Return the maker of the campaign."""
        return CampaignMaker(
            campaign=self.campaign,
            maker=super().maker(),
            overrides={key: RunSettings.maker(self.settings_for(key)) for key in self.overrides},
        )


def _read_pymatgen(path: Path) -> list[Structure | Molecule]:
    try:
        with zopen(path, "rt") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    entries = content if isinstance(content, list) else [content]
    return [_from_dict(entry, f"entry {i} of {path}") for i, entry in enumerate(entries)]


def _from_dict(value: Any, where: str) -> Structure | Molecule:
    # of the classes that MSON may name, only these two are built
    kind = value.get("@class") if isinstance(value, dict) else None
    if kind not in ("Structure", "Molecule"):
        raise ValueError(f"{where} is no pymatgen Structure or Molecule")
    try:
        return (Structure if kind == "Structure" else Molecule).from_dict(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is damaged: {type(error).__name__}: {error}") from error
