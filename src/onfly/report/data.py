"""Read the folder of a run for a report: whatever is there, finished or not.

A report is a view and must never stop for an unfinished file. What is missing stays empty, rows
that are being written are left out, and all of it is said in `RunData.problems`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import ase.io
import numpy as np
from ase import Atoms
from pydantic import BaseModel, ValidationError

from onfly.schemas.label import LabelDoc
from onfly.schemas.model import FineTunedModelDoc
from onfly.schemas.run import RunDoc
from onfly.schemas.types import to_atoms

__all__ = ["RunData", "find_setting", "load_documents", "load_run", "to_atoms"]

THERMO_COLUMNS = (
    "step",
    "time_fs",
    "stage",
    "temperature",
    "potential_energy",
    "kinetic_energy",
    "total_energy",
    "volume",
    "energy_std",
    "probability",
)
DocT = TypeVar("DocT", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True)
class RunData:
    """All that a report needs of one run.

    Attributes
    ----------
    folder
        The run's folder.
    run
        Its state.
    model
        The published model, if there is one.
    labels
        In the order of their index.
    thermo
        Column name to values, shape (n_steps,), in the order of the steps; energies in eV, NaN
        where nothing was written. ``source`` is an array of strings.
    training
        Records of the updates, in order.
    last_frame
        The last frame of the trajectory.
    problems
        What could not be read, in words.
    """

    folder: Path
    run: RunDoc
    model: FineTunedModelDoc | None = None
    labels: list[LabelDoc] = field(default_factory=list)
    thermo: Mapping[str, np.ndarray] = field(default_factory=dict)
    training: list[dict[str, Any]] = field(default_factory=list)
    last_frame: Atoms | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def n_steps(self) -> int:
        """MD steps done so far; a running segment is ahead of the run's state."""
        logged = int(self.thermo["step"][-1]) if len(self.thermo.get("step", ())) else 0
        return max(self.run.md_step, logged)

    @cached_property
    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        step, time = self.thermo.get("step", np.empty(0)), self.thermo.get("time_fs", np.empty(0))
        known = np.isfinite(time)
        return step[known], time[known]

    def time_ps(self, steps: Any) -> np.ndarray:
        """Return the times of MD steps in ps, interpolated in the log (NaN without a log)."""
        step, time = self._clock
        wanted = np.asarray(steps, dtype=float)
        if step.size < 2:
            return np.full(wanted.shape, np.nan)
        inside = np.interp(wanted, step, time)
        first, last = (
            (time[1] - time[0]) / (step[1] - step[0]),
            ((time[-1] - time[-2]) / (step[-1] - step[-2])),
        )
        inside = np.where(wanted < step[0], time[0] - (step[0] - wanted) * first, inside)
        inside = np.where(wanted > step[-1], time[-1] + (wanted - step[-1]) * last, inside)
        return inside / 1000

    @property
    def has_clock(self) -> bool:
        """Whether steps can be given as times."""
        return self._clock[0].size >= 2

    def axis(self, steps: Any) -> np.ndarray:
        """Return steps on the report's time axis: ps, or MD steps without a log."""
        return self.time_ps(steps) if self.has_clock else np.asarray(steps, dtype=float)

    @property
    def axis_range(self) -> tuple[float, float] | None:
        """Ends of that axis, with a little room for markers; None at the very start."""
        steps = [label.md_step or 0 for label in self.labels]
        end = float(self.axis(max([self.n_steps, *steps])))
        return (-0.015 * end, 1.015 * end) if end > 0 else None

    @property
    def axis_label(self) -> str:
        """Name of that axis."""
        return "simulated time (ps)" if self.has_clock else "MD step"

    @property
    def judged_labels(self) -> list[LabelDoc]:
        """Labels with a prediction made before they were learned."""
        return [label for label in self.labels if label.predicted_energy is not None]


def load_documents(
    folder: str | Path, problems: list[str] | None = None
) -> tuple[RunDoc, FineTunedModelDoc | None]:
    """Read the state of a run and its published model, without labels and logs.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``run.json``.
    ValueError
        If ``run.json`` is no state of a run.
    """
    path = Path(folder).expanduser()
    if not (path / "run.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no run.json: give the folder of a run, <artifact dir>/runs/<run_id>"
        )
    try:
        run = RunDoc.model_validate_json((path / "run.json").read_text())
    except ValidationError as error:
        raise ValueError(f"{path / 'run.json'} is no state of a run: {error}") from error
    model = None
    if (path / "model.json").is_file():
        found: list[str] = [] if problems is None else problems
        model = _attempt(path / "model.json", _reader(FineTunedModelDoc), found)
    return run, model


def load_run(folder: str | Path) -> RunData:
    """Read the folder of a run.

    Raises
    ------
    FileNotFoundError
        If it holds no ``run.json``.
    ValueError
        If ``run.json`` is no state of a run.
    """
    path = Path(folder).expanduser()
    problems: list[str] = []
    run, model = load_documents(path, problems)
    labels = _each(path / "labels", "*.json", _reader(LabelDoc), problems)
    training = _each(path / "training", "*.json", lambda p: json.loads(p.read_text()), problems)
    return RunData(
        folder=path,
        run=run,
        model=model,
        labels=sorted(labels, key=lambda label: -1 if label.index is None else label.index),
        thermo=_thermo(path / "thermo", problems),
        training=[record for record in training if isinstance(record, dict)],
        last_frame=_last_frame(path / "trajectory"),
        problems=problems,
    )


def _reader(doc: type[DocT]) -> Callable[[Path], DocT]:
    return lambda path: doc.model_validate_json(path.read_text())


def _files(folder: Path, pattern: str) -> list[Path]:
    # a leading dot marks an unfinished write
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))


def _attempt(path: Path, read: Callable[[Path], T], problems: list[str]) -> T | None:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{path.parent.name}/{path.name} could not be read: {first}")
        return None


def _each(folder: Path, pattern: str, read: Callable[[Path], T], problems: list[str]) -> list[T]:
    found = (_attempt(path, read, problems) for path in _files(folder, pattern))
    return [item for item in found if item is not None]


def _number(text: str | None) -> float:
    return float(text) if text not in (None, "", "None") else float("nan")  # type: ignore[arg-type]


def _thermo(folder: Path, problems: list[str]) -> dict[str, np.ndarray]:
    rows: dict[int, tuple[list[float], str]] = {}
    for path in _files(folder, "*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                # the last line may be half written: `source` is its last column
                if row.get("source") not in ("model", "label"):
                    continue
                try:
                    values = [_number(row.get(name)) for name in THERMO_COLUMNS]
                    rows[int(values[0])] = (values, row["source"])  # a later segment wins
                except ValueError as error:
                    problems.append(f"a line of thermo/{path.name} could not be read: {error}")
    order = sorted(rows)
    table = np.array([rows[step][0] for step in order]).reshape(len(order), len(THERMO_COLUMNS))
    columns = {name: table[:, i] for i, name in enumerate(THERMO_COLUMNS)}
    columns["source"] = np.array([rows[step][1] for step in order], dtype=str)
    return columns


def _last_frame(folder: Path) -> Atoms | None:
    for path in reversed(_files(folder, "*.extxyz")):
        if path.stat().st_size == 0:
            continue
        for index in (-1, 0):
            try:
                atoms = ase.io.read(path, index=index, format="extxyz")
            except Exception:  # half-written frames raise errors of many kinds
                continue
            if isinstance(atoms, Atoms):
                return atoms
    return None


def find_setting(settings: Any, name: str) -> Any:
    """Find a key at any depth of nested settings; None if it is not there."""
    if isinstance(settings, Mapping):
        if name in settings and settings[name] is not None:
            return settings[name]
        children = list(settings.values())
    elif isinstance(settings, list | tuple):
        children = list(settings)
    else:
        return None
    for child in children:
        found = find_setting(child, name)
        if found is not None:
            return found
    return None
