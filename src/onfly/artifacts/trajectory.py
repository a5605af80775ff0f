"""The files of one trajectory of a run."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onfly.artifacts.atomic import atomic_write, ensure_folder
from onfly.artifacts.files import ArtifactStore
from onfly.artifacts.lock import RunLock

__all__ = ["TrajectoryFolder", "watched_steps"]


class TrajectoryFolder:
    """Thermodynamic tables, frames and the checkpoint of one trajectory.

    Parameters
    ----------
    store
        The artifact directory.
    run_folder
        Folder of the run.
    index
        Number of the trajectory.
    """

    def __init__(self, store: ArtifactStore, run_folder: Path, index: int) -> None:
        self.store = store
        self.index = index
        self.run_folder = run_folder
        self.folder = run_folder / "trajectories" / f"{index:03d}"

    def lock(self) -> RunLock:
        """Return a context manager that holds the trajectory against other processes."""
        return RunLock(
            self.folder / "lock", f"trajectory {self.index} of run {self.run_folder.name}"
        )

    @property
    def checkpoint_path(self) -> Path:
        """Where a segment that was killed goes on."""
        return self.folder / "checkpoint.json"

    def thermo_path(self, segment: int) -> Path:
        """Return the path of a segment's table of step, energy, temperature … (csv)."""
        return ensure_folder(self.folder / "thermo") / f"{segment:05d}.csv"

    def frames_path(self, segment: int) -> Path:
        """Return the path of a segment's frames (extended xyz)."""
        return ensure_folder(self.folder / "trajectory") / f"{segment:05d}.extxyz"

    def thermo_files(self) -> list[Path]:
        """Return the tables there are, in order."""
        return sorted((self.folder / "thermo").glob("[0-9]*.csv"))

    def trajectory_files(self) -> list[Path]:
        """Return the files of frames there are, in order."""
        return sorted((self.folder / "trajectory").glob("[0-9]*.extxyz"))

    def set_aside(self, step: int) -> None:
        """Move the steps behind one to the folder ``redone``, since they are taken again.

        Nothing is lost if the process is killed on the way, and to do it again changes nothing.
        """
        for path in self.thermo_files():
            header, *rows = path.read_text().splitlines(keepends=True)
            kept = [row for row in rows if int(row.split(",", 1)[0]) <= step]
            self._cut(path, step, header, kept, rows)
        for path in self.trajectory_files():
            frames = list(_frames(path.read_text()))
            kept = [text for at, text in frames if at <= step]
            self._cut(path, step, "", kept, [text for _, text in frames])

    def _cut(self, path: Path, step: int, header: str, kept: list[str], every: list[str]) -> None:
        if len(kept) == len(every):
            return
        folder = ensure_folder(self.folder / "redone" / path.parent.name)
        behind = every[len(kept) :]
        target = folder / f"{path.stem}-{step:08d}{path.suffix}"
        atomic_write(target, (header + "".join(behind)).encode())
        atomic_write(path, (header + "".join(kept)).encode())


def _frames(text: str) -> Iterator[tuple[int, str]]:
    """Yield step and text of each frame of an extended xyz file."""
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        end = at + int(lines[at]) + 2
        found = re.search(r"\bstep=(\d+)", lines[at + 1])
        if found is None:
            raise ValueError(f"frame without a step: {lines[at + 1].strip()}")
        yield int(found.group(1)), "".join(lines[at:end])
        at = end


def watched_steps(files: Iterable[Path]) -> Iterator[tuple[int, float, float]]:
    """Yield step, P(error > tolerance) and std (eV) of the logged steps that have a probability.

    Parameters
    ----------
    files
        Thermodynamic tables, in order; see `TrajectoryFolder.thermo_files`.
    """
    for path in files:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["probability"]:
                    yield int(row["step"]), float(row["probability"]), float(row["energy_std"])
