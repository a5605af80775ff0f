"""The file of a run: its structure, its name, and the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec
from onfly.spec.flat import Gathered, SettingError, gather
from onfly.spec.labels import LabelsSpec
from onfly.spec.names import check_run_id
from onfly.spec.run import RunSpec
from onfly.spec.yaml import Key, Source

__all__ = ["RunFile", "model_path"]


class RunFile(Spec):
    """Everything about one run, as `onfly run` takes it: `onfly.spec.yaml.load(path, RunFile)`.

    In the file the keys of `spec` stand beside the others.

    Raises
    ------
    ValueError
        If a key is unknown or impossible; `onfly.spec.yaml.load` makes a `ConfigError` of it.

    Examples
    --------
    >>> from onfly.spec.yaml import load
    >>> text = "{structure: POSCAR, threshold: 50 meV, labeller: emt, stages: [{n_steps: 9}]}"
    >>> _ = Path("run.yaml").write_text(text)
    >>> file = load(Path("run.yaml"), RunFile)
    >>> file.mode, file.spec.tolerance[0].value
    ('resident', 0.05)
    """

    structure: Path = Field(
        description="File of the initial structure, relative to this one: POSCAR, cif, (ext)xyz "
        "or whatever ASE reads."
    )
    final_structure: Path | None = Field(
        None,
        description="For a stage with `driver: neb`: file of the other end of the path, with the "
        "same atoms in the same order and the same cell; `walkers` is the number of images.",
    )
    periodic: bool | None = Field(
        None,
        description="`true` or `false`; needed if the file has a cell but says that no direction "
        "is periodic, as many published xyz files do.",
    )
    run_id: str | None = Field(
        None, description="Name of the run and of its folder; `null` makes a new one."
    )
    mode: Literal["resident", "chained"] = Field(
        "resident",
        description="`resident`: one job, labeller in process. `chained`: every label and every "
        "segment is a job (for FireWorks and jobflow-remote). Both give the same numbers.",
    )
    spec: RunSpec = Field(description="All settings of the run.")

    @field_validator("run_id")
    @classmethod
    def _can_name_a_folder(cls, value: str | None) -> str | None:
        if value is not None:
            check_run_id(value)
        return value

    @model_validator(mode="after")
    def _labeller(self) -> RunFile:
        return _needs_labeller(self)

    @model_validator(mode="after")
    def _ends(self) -> RunFile:
        path = self.spec.trajectories.stages[0].driver == "neb"
        if path and self.final_structure is None:
            raise ValueError("final_structure is missing: a path (`driver: neb`) has two ends")
        if self.final_structure is not None and not path:
            raise ValueError(
                "final_structure is the other end of a path: it goes with a stage `driver: neb`"
            )
        return self

    @property
    def structure_files(self) -> tuple[Path, ...]:
        """The file of the structure; of a path those of both ends."""
        final = self.final_structure
        return (self.structure,) if final is None else (self.structure, final)

    @classmethod
    def from_source(cls, source: Source, origins: dict[Key, Key]) -> Self:
        """Build from a file; `origins` learns where what is in ``spec`` stands in it."""
        own, gathered = split(source, set(cls.model_fields) - {"spec"}, origins)
        for key in ("structure", "final_structure"):
            if isinstance(given := own.get(key), str):
                own[key] = (source.folder / Path(given).expanduser()).resolve()
        return cls.model_validate(own | {"spec": gathered.groups}, context={"units_required": True})


def split(
    source: Source, own_keys: set[str], origins: dict[Key, Key]
) -> tuple[dict[str, Any], Gathered]:
    """Return the keys of a file itself, and its settings by group, with paths resolved.

    Raises
    ------
    SettingError
        If a key is unknown, has no meaning any more, or is given twice, or if a key without a
        default is missing.
    """
    own = {k: v for k, v in source.data.items() if k in own_keys}
    rest = {k: v for k, v in source.data.items() if k not in own_keys}
    gathered = gather(rest, also_known=own_keys)
    resolve_foundation(gathered.groups, source.folder)
    origins |= {("spec", *new): old for new, old in gathered.origins.items()}
    origins |= {
        ("spec", group): (group,) for group in gathered.groups if ("spec", group) not in origins
    }
    origins.setdefault(("spec",), ())
    missing = missing_keys(gathered.groups)
    if missing:
        raise SettingError(missing)
    return own, gathered


def missing_keys(groups: dict[str, Any]) -> list[tuple[Key, str]]:
    """Return the keys that a file must have and has not, by the name that most files use."""
    problems: list[tuple[Key, str]] = []
    if "tolerance" not in groups:
        problems.append(
            (("threshold",), "is missing (largest energy error of the cell, such as `50 meV`)")
        )
    trajectories = groups.get("trajectories", {})
    if isinstance(trajectories, dict) and "stages" not in trajectories:
        problems.append((("stages",), "is missing (such as `[{n_steps: 5000, temperature: 300}]`)"))
    labels = groups.get("labels", {})
    if isinstance(labels, dict) and labels.get("labeller") is None:
        text = LabelsSpec.model_fields["labeller"].description
        problems.append((("labeller",), f"is missing ({text})"))
    return problems


def _needs_labeller(file: RunFile) -> RunFile:
    if file.spec.labels.labeller is None:
        raise ValueError("labeller is missing: a short name, or name and kwargs")
    return file


def resolve_foundation(groups: dict[str, Any], folder: Path) -> None:
    """Make the path of a model file absolute, in place."""
    given = groups.get("foundation")
    if isinstance(given, str):
        groups["foundation"] = model_path(given, folder)
    elif isinstance(given, dict) and isinstance(given.get("source"), str):
        groups["foundation"] = given | {"source": model_path(given["source"], folder)}


def model_path(source: str, folder: Path) -> str:
    """Return a foundation's source; what names a file becomes its absolute path.

    A source names a file if it begins with ``.``, ``~`` or ``/``, or if there is such a file in
    the folder.
    """
    try:
        path = folder / Path(source).expanduser()
        if source.startswith((".", "~", "/")) or path.is_file():
            return str(path.resolve())
    except (OSError, RuntimeError):  # too long for a path, or of a user who is not there
        pass
    return source
