"""The file of a campaign: structures, workers, the settings of all runs, and what differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from onfly.spec.base import Spec
from onfly.spec.classes import ClassCampaignSpec
from onfly.spec.files import resolve_foundation, split
from onfly.spec.flat import SettingError, gather, merge
from onfly.spec.run import RunSpec
from onfly.spec.structures import StructuresSpec
from onfly.spec.yaml import Key, Source

__all__ = ["CampaignFile", "WorkersSpec"]


class WorkersSpec(Spec):
    """Which workers take the jobs.

    Examples
    --------
    >>> WorkersSpec(gpu={"_category": "a100"}).cpu is None
    True
    """

    gpu: dict[str, Any] | None = Field(None, description="For MD and updates.")
    cpu: dict[str, Any] | None = Field(None, description="For labels.")


class CampaignFile(Spec):
    """Everything about a campaign, as `onfly submit` takes it.

    In the file the keys of `spec` stand beside the others, and an override holds those that
    differ; here each override is the whole tree of its compound.

    Raises
    ------
    ValueError
        If a key is unknown or impossible; `onfly.spec.yaml.load` makes a `ConfigError` of it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from onfly.spec.yaml import load
    >>> text = '''{campaign: metals, structures: ["*.vasp"], threshold: 2 meV, labeller: emt,
    ... stages: [{n_steps: 1000}], overrides: {Ag: {walkers: 4}}}'''
    >>> _ = Path("many.yaml").write_text(text)
    >>> load(Path("many.yaml"), CampaignFile).overrides["Ag"].trajectories.walkers
    4
    """

    campaign: str = Field(description="Name, by which runs and models are found.")
    structures: StructuresSpec = Field(
        description="Files or patterns; or a mapping with `files`, `pymatgen`, `query`."
    )
    overrides: dict[str, RunSpec] = Field(
        default_factory=dict, description="By formula or run identifier: settings that differ."
    )
    workers: WorkersSpec = Field(
        default_factory=WorkersSpec, description="Which workers take the jobs."
    )
    class_model: ClassCampaignSpec | None = Field(
        None,
        description="Name of a class that learns after every few compounds, and from which later "
        "ones start, such as `{name: perovskites, every: 4}`; `null` starts all from the same.",
    )
    mode: Literal["resident", "chained"] = Field(
        "chained", description="`chained` or `resident`, as for a run."
    )
    spec: RunSpec = Field(description="Settings of all compounds.")

    @field_validator("campaign")
    @classmethod
    def _can_name_folders(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", value):
            raise ValueError(
                f"{value!r} cannot name folders: use letters, digits, '.', '_', '+' and '-'"
            )
        return value

    def settings_for(self, key: str) -> RunSpec:
        """Return the settings of the compounds that an override names, or those of all."""
        return self.overrides.get(key, self.spec)

    @property
    def max_atoms(self) -> int:
        """Largest number of atoms that any compound may have; each is held against its own."""
        specs = (self.spec, *self.overrides.values())
        return max(spec.guards.max_atoms for spec in specs)

    @classmethod
    def from_source(cls, source: Source, origins: dict[Key, Key]) -> Self:
        """Build from a file; `origins` learns where what is in ``spec`` stands in it."""
        own, gathered = split(source, set(cls.model_fields) - {"spec"}, origins)
        if "seed_from" in source.data:
            problem = "is for one run: a campaign has a run for each compound"
            raise SettingError([(("seed_from",), problem)])
        given = own.get("overrides")
        if isinstance(given, Mapping):
            own["overrides"] = {
                key: _override(gathered.groups, str(key), value, source, origins)
                for key, value in given.items()
            }
        return cls.model_validate(own | {"spec": gathered.groups}, context={"units_required": True})


def _override(
    base: dict[str, Any], key: str, value: Any, source: Source, origins: dict[Key, Key]
) -> Any:
    here: Key = ("overrides", key)
    if not isinstance(value, Mapping):
        raise SettingError([(here, "must hold `key: value` lines")])
    try:
        changes = gather(value)
    except SettingError as error:
        raise SettingError([((*here, *path), text) for path, text in error.problems]) from None
    resolve_foundation(changes.groups, source.folder)
    origins |= {(*here, *new): (*here, *old) for new, old in changes.origins.items()}
    return merge(base, changes.groups)
