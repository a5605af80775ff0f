"""Thermodynamic log, trajectory and checkpoint of a segment, safe against a kill at any moment."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.workspace import RunWorkspace
from onfly.dynamics.state import MDState
from onfly.schemas import ArtifactRef

__all__ = ["Checkpoint", "Recorder"]

COLUMNS = (
    "step,time_fs,stage,temperature,potential_energy,kinetic_energy,total_energy,volume,"
    "energy_std,probability,source"
)


@dataclass(frozen=True)
class Checkpoint:
    """Where a segment that was interrupted goes on."""

    iteration: int
    start: str  # sha256 of the state the segment began with: a checkpoint of another try is void
    md_state: ArtifactRef
    thermo_bytes: int
    trajectory_bytes: int


class Recorder:
    """Buffer rows and frames, and write them together with a checkpoint.

    On resuming, both files are cut to the length that the checkpoint knows, so that no step is
    recorded twice.

    Parameters
    ----------
    workspace
        Folder of the run.
    iteration
        Number of the segment.
    start
        State that the segment begins with.
    offset
        E_foundation - E_DFT in eV; energies are recorded on the DFT scale.
    traj_interval
        Steps between frames of the trajectory; 0 for none.
    """

    def __init__(
        self,
        workspace: RunWorkspace,
        iteration: int,
        start: ArtifactRef,
        offset: float,
        traj_interval: int,
    ) -> None:
        self.workspace = workspace
        self.iteration = iteration
        self.start = start
        self.offset = offset
        self.traj_interval = traj_interval
        self._rows: list[str] = []
        self._frames = io.StringIO()
        self._checkpoint_path = workspace.folder / "checkpoint.json"
        self._previous: ArtifactRef | None = None

    def resume(self) -> MDState | None:
        """Return the state of the last checkpoint of this segment, or None to begin it."""
        checkpoint = self._read()
        thermo = self.workspace.thermo_path(self.iteration)
        trajectory = self.workspace.trajectory_path(self.iteration)
        if checkpoint is None:
            thermo.write_text(COLUMNS + "\n")
            trajectory.write_text("")
            return None
        for path, size in (
            (thermo, checkpoint.thermo_bytes),
            (trajectory, checkpoint.trajectory_bytes),
        ):
            with path.open("r+b") as file:
                file.truncate(size)
        self._previous = checkpoint.md_state
        return MDState.from_arrays(self.workspace.load_md_state(checkpoint.md_state))

    def _read(self) -> Checkpoint | None:
        try:
            data = json.loads(self._checkpoint_path.read_text())
        except FileNotFoundError:
            return None
        data["md_state"] = ArtifactRef(**data["md_state"])
        checkpoint = Checkpoint(**data)
        if checkpoint.iteration != self.iteration or checkpoint.start != self.start.sha256:
            return None
        # an update that is done again after a kill tidies away what came after it
        if not self.workspace.store.path(checkpoint.md_state).is_file():
            return None
        return checkpoint

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

    def checkpoint(self, state: MDState) -> ArtifactRef:
        """Write rows, frames and the state; the checkpoint file is what makes them count."""
        sizes = [
            _append(
                self.workspace.thermo_path(self.iteration), "".join(r + "\n" for r in self._rows)
            ),
            _append(self.workspace.trajectory_path(self.iteration), self._frames.getvalue()),
        ]
        self._rows, self._frames = [], io.StringIO()
        ref = self.workspace.save_md_state(state.to_arrays())
        content = {
            "iteration": self.iteration,
            "start": self.start.sha256,
            "md_state": ref.model_dump(),
            "thermo_bytes": sizes[0],
            "trajectory_bytes": sizes[1],
        }
        atomic_write(self._checkpoint_path, json.dumps(content).encode())
        stale = self._previous
        if stale is not None and stale not in (ref, self.start):
            self.workspace.store.path(stale).unlink(missing_ok=True)
        self._previous = ref
        return ref


def _append(path: Path, text: str) -> int:
    with path.open("a") as file:
        file.write(text)
    return path.stat().st_size
