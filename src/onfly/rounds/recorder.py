"""Thermodynamic log, trajectory and checkpoint of a segment, safe against a kill at any moment."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from onfly.artifacts.atomic import atomic_write, full_disk_named
from onfly.artifacts.trajectory import TrajectoryFolder
from onfly.dynamics.state import MDState
from onfly.schemas import ArtifactRef, RequestDoc

__all__ = ["Checkpoint", "Recorder"]

logger = logging.getLogger(__name__)

COLUMNS = (
    "step,time_fs,stage,temperature,potential_energy,kinetic_energy,total_energy,volume,"
    "energy_std,probability,source"
)


@dataclass(frozen=True)
class Checkpoint:
    """Where a segment that was interrupted goes on.

    Parameters
    ----------
    segment, start
        Number of the segment and name of the state that it began with: a checkpoint of another
        try is void.
    state
        The MD state.
    requests
        Labels that the segment has asked for without stopping.
    """

    segment: int
    start: str
    state: MDState
    requests: tuple[RequestDoc, ...]


class Recorder:
    """Buffer rows and frames, and write them together with a checkpoint.

    On resuming, both files are cut to the length that the checkpoint knows, so that no step is
    recorded twice.

    Parameters
    ----------
    folder
        Of the trajectory.
    segment
        Number of the segment.
    start
        Names the state that the segment begins with.
    save_state
        Writes an MD state and returns its reference.
    offset
        E_foundation - E_DFT in eV; energies are recorded on the labeller's scale.
    traj_interval
        Steps between frames of the trajectory; 0 for none.
    """

    def __init__(
        self,
        folder: TrajectoryFolder,
        segment: int,
        start: str,
        save_state: Callable[[dict[str, np.ndarray]], ArtifactRef],
        offset: float,
        traj_interval: int,
    ) -> None:
        self.folder = folder
        self.segment = segment
        self.start = start
        self.save_state = save_state
        self.offset = offset
        self.traj_interval = traj_interval
        self._rows: list[str] = []
        self._frames = io.StringIO()
        self._previous: ArtifactRef | None = None

    def resume(self) -> Checkpoint | None:
        """Return the last checkpoint of this segment, or None to begin it."""
        thermo = self.folder.thermo_path(self.segment)
        frames = self.folder.frames_path(self.segment)
        data = self._read()
        found = None if data is None else self._checkpoint(data)
        if data is None or found is None:
            with full_disk_named(thermo):
                thermo.write_text(COLUMNS + "\n")
                frames.write_text("")
            return None
        for path, size in ((thermo, data["thermo_bytes"]), (frames, data["frames_bytes"])):
            with path.open("r+b") as file:
                file.truncate(size)
        self._previous = ArtifactRef(**data["md_state"])
        return found

    def _checkpoint(self, data: dict[str, Any]) -> Checkpoint | None:
        """Return what a checkpoint leads to, or None if that is damaged: nothing is lost by it."""
        try:
            arrays = self.folder.store.load_arrays(ArtifactRef(**data["md_state"]))
            return Checkpoint(
                segment=self.segment,
                start=self.start,
                state=MDState.from_arrays(arrays),
                requests=tuple(RequestDoc(**request) for request in data["requests"]),
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            self._say_damaged(error)
            return None

    def _say_damaged(self, error: Exception) -> None:
        logger.warning(
            "%s is damaged (%s): the segment begins again", self.folder.checkpoint_path, error
        )

    def _read(self) -> dict[str, Any] | None:
        try:
            data = json.loads(self.folder.checkpoint_path.read_text())
            ours = data["segment"] == self.segment and data["start"] == self.start
            sizes = data["thermo_bytes"], data["frames_bytes"]
            files = self.folder.thermo_path(self.segment), self.folder.frames_path(self.segment)
            # an update that is done again after a kill tidies away what came after it
            there = self.folder.store.path(ArtifactRef(**data["md_state"])).is_file()
            whole = all(f.stat().st_size >= n for f, n in zip(files, sizes, strict=True))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OSError) as error:
            self._say_damaged(error)
            return None
        return data if ours and there and whole else None

    def record(
        self,
        state: MDState,
        time_fs: float,
        stage: int,
        energy_std: float | None,
        probability: float | None,
    ) -> None:
        """Add a step; it reaches the disk with the next checkpoint."""
        potential = state.energy - self.offset
        kinetic = state.kinetic_energy
        values = [
            str(state.step),
            f"{time_fs:.4f}",
            str(stage),
            f"{state.temperature:.4f}",
            f"{potential:.8f}",
            f"{kinetic:.8f}",
            f"{potential + kinetic:.8f}",
            "" if state.volume is None else f"{state.volume:.6f}",
            "" if energy_std is None else f"{energy_std:.8f}",
            "" if probability is None else f"{probability:.6g}",
            state.source,
        ]
        self._rows.append(",".join(values))
        if self.traj_interval and state.step % self.traj_interval == 0:
            self._add_frame(state, time_fs, stage, potential)

    def _add_frame(self, state: MDState, time_fs: float, stage: int, potential: float) -> None:
        atoms = state.to_atoms()
        atoms.calc = SinglePointCalculator(atoms, energy=potential, forces=np.array(state.forces))
        atoms.info = {
            "step": state.step,
            "time_fs": round(time_fs, 4),
            "stage": stage,
            "source": state.source,
        }
        ase.io.write(self._frames, atoms, format="extxyz")

    def checkpoint(self, state: MDState, requests: Sequence[RequestDoc] = ()) -> ArtifactRef:
        """Write rows, frames and the state; the checkpoint file is what makes them count."""
        rows = "".join(row + "\n" for row in self._rows)
        thermo_bytes = _append(self.folder.thermo_path(self.segment), rows)
        frames_bytes = _append(self.folder.frames_path(self.segment), self._frames.getvalue())
        self._rows, self._frames = [], io.StringIO()
        ref = self.save_state(state.to_arrays())
        content = {
            "segment": self.segment,
            "start": self.start,
            "md_state": ref.model_dump(),
            "thermo_bytes": thermo_bytes,
            "frames_bytes": frames_bytes,
            "requests": [request.model_dump() for request in requests],
        }
        atomic_write(self.folder.checkpoint_path, json.dumps(content).encode())
        stale = self._previous
        places = [request.place.md_state for request in requests if request.place is not None]
        needed = stale == ref or stale in places
        if stale is not None and not needed and stale.sha256 not in self.start:
            self.folder.store.path(stale).unlink(missing_ok=True)
        self._previous = ref
        return ref


def _append(path: Path, text: str) -> int:
    with full_disk_named(path), path.open("a") as file:
        file.write(text)
    return path.stat().st_size
