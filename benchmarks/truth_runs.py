"""Runs against a teacher, and the truth at every step of their trajectories.

A run has a folder. Whatever is there is not done again: the loop goes on where it was, and the
teacher's energies are kept for every segment of a trajectory.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from onfly.artifacts.trajectory import TrajectoryFolder
from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.ase import AseLabelMaker
from onfly.labels.errors import LabelError
from onfly.labels.single_point import build_calculator
from onfly.potentials import Potential, load_foundation
from onfly.potentials.execution import one_thread
from onfly.rounds.ask import known_answer
from onfly.rounds.criteria import error_ratios
from onfly.rounds.judge import Answer, requested_structure
from onfly.rounds.new import new_run
from onfly.rounds.table import Round, advance
from onfly.schemas import RunState, to_structure
from onfly.session import Session
from onfly.settings import OnflySettings
from onfly.spec import RunSpec

__all__ = [
    "Frames", "Teacher", "TeacherCalculator", "bare", "block_frames", "redone_share", "run_case",
    "true_frames",
]  # fmt: skip

ROUNDS = "rounds.jsonl"
RATIO = "ratio of "  # columns of errors over tolerances
BATCH = 32  # configurations that the teacher sees at once
FOUNDATION_EVERY = 5  # the untuned student is looked at this often only


def bare(atoms: Atoms) -> Atoms:
    """Return atoms and cell, and nothing else."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)


@cache
def _potential(source: str, elements: tuple[str, ...]) -> Potential:
    """Return a potential, loaded once per process: it has no state that changes."""
    return load_foundation(source, elements=elements)


def _energies(
    potential: Potential, frames: Sequence[Atoms], forces: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return energies of configurations in eV and, where asked, their forces in eV/Å."""
    found: list[float] = []
    rows: list[np.ndarray] = []
    for begin in range(0, len(frames), BATCH):
        part = frames[begin : begin + BATCH]
        result = potential.evaluate(
            potential.parameters(),
            potential.collate([potential.graph(atoms) for atoms in part]),
            forces=forces,
            stress=False,
        )
        found += result.energy.detach().cpu().tolist()
        if forces:
            rows.append(result.forces.detach().double().cpu().numpy().reshape(len(part), -1, 3))
    return np.array(found), np.concatenate(rows) if forces else None


class TeacherCalculator(Calculator):
    """A foundation potential as ASE calculator.

    Parameters
    ----------
    source
        Name or path.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Evaluate energy, forces and, for crystals, stress."""
        super().calculate(atoms, properties, system_changes)
        potential = _potential(self.source, tuple(sorted(set(self.atoms.get_chemical_symbols()))))
        periodic = bool(self.atoms.pbc.all()) and potential.supports_stress
        result = potential.evaluate(
            potential.parameters(),
            potential.collate([potential.graph(self.atoms)]),
            forces=True,
            stress=periodic,
        )
        energy = float(result.energy[0])
        self.results = {"energy": energy, "free_energy": energy}
        self.results["forces"] = result.forces.detach().double().cpu().numpy()
        if periodic:
            stress = result.stress[0].detach().double().cpu().numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


@dataclass(frozen=True)
class Teacher:
    """What labels, and tells the truth afterwards.

    Parameters
    ----------
    source
        Name or path of a potential, or the dotted name of an ASE calculator.
    """

    source: str

    @property
    def is_calculator(self) -> bool:
        """Whether the teacher is an ASE calculator by its dotted name."""
        return self.source.startswith("ase.")

    def calculator(self) -> Calculator:
        """Return it as ASE calculator."""
        if self.is_calculator:
            return build_calculator(self.source, {})
        return TeacherCalculator(self.source)

    def maker(self) -> AseLabelMaker:
        """Return the labeller."""
        if self.is_calculator:
            return AseLabelMaker(calculator=self.source)
        name = f"{TeacherCalculator.__module__}.TeacherCalculator"
        return AseLabelMaker(calculator=name, calculator_kwargs={"source": self.source})

    def truth(
        self, frames: Sequence[Atoms], forces: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the true energies of configurations in eV, and their forces where asked (eV/Å)."""
        if not self.is_calculator:
            elements = tuple(sorted(set(frames[0].get_chemical_symbols())))
            return _energies(_potential(self.source, elements), frames, forces)
        calculator = self.calculator()
        energies = np.array([calculator.get_potential_energy(atoms) for atoms in frames])
        if not forces:
            return energies, None
        return energies, np.array([calculator.get_forces(atoms) for atoms in frames])


def run_case(
    spec: RunSpec, atoms: Atoms, teacher: Teacher, folder: Path, run_id: str
) -> tuple[RunState, RunWorkspace]:
    """Run the loop to its end, or go on with it.

    What the loop knew after each phase is noted beside the run: the generation that each segment
    was run with, and the CPU seconds of labels.
    """
    session = Session(OnflySettings(ARTIFACT_DIR=folder))
    workspace = session.workspace(run_id)
    structure = to_structure(atoms)
    maker = teacher.maker()

    def answers(state: RunState) -> list[Answer]:
        run, start, found = session.open(state.posterior), time.process_time(), []
        for request in state.due:
            output: Any = known_answer(run, request, maker)
            error = None
            if output is None:
                try:
                    output = maker.run(requested_structure(run, request))
                except LabelError as problem:
                    error = str(problem)
            found.append(Answer(output, error))
        _note(workspace, {"label_cpu": time.process_time() - start})
        return found

    def written(state: RunState) -> None:
        workspace.write_state(state)
        posterior = state.posterior
        generation = None if posterior.ensemble is None else posterior.ensemble.generation
        _note(
            workspace,
            {
                "phase": posterior.phase,
                "generation": generation,
                "attempt": posterior.attempt,
                "n_labels": posterior.n_labels,
                "n_waits": posterior.n_waits,
                "segments": [t.segment for t in state.trajectories],
                "origins": [t.origin for t in state.trajectories],
            },
        )

    with workspace.lock(), one_thread():
        if workspace.exists():
            state = workspace.read_state()
        else:
            state = new_run(spec, structure, run_id=run_id)
            workspace.write_state(state)
        work = Round(session, [structure], answers, 1)
        state = advance(state, work, written=written)
    return state, workspace


def _note(workspace: RunWorkspace, content: dict[str, Any]) -> None:
    with (workspace.folder / ROUNDS).open("a") as file:
        file.write(json.dumps(content) + "\n")


def notes(workspace: RunWorkspace) -> list[dict[str, Any]]:
    """Return what `run_case` noted; nothing of a run that was made otherwise."""
    path = workspace.folder / ROUNDS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Frames:
    """All steps of a run that were taken on the model; each array has one value per step.

    Parameters
    ----------
    trajectory, step, generation
        Where a step was taken, and by which weights.
    block
        Whether it belongs to the latest closing block.
    exploring
        Whether the run could ask for a label there: it belongs to no closing block.
    error
        Predicted minus true energy in eV.
    foundation_error
        The same for the untuned student with its offset; NaN where it was not looked at.
    std
        Predicted, not calibrated, eV.
    ratios
        By tolerance of energies or forces, the largest error over it.
    """

    trajectory: np.ndarray
    step: np.ndarray
    generation: np.ndarray
    block: np.ndarray
    exploring: np.ndarray
    error: np.ndarray
    foundation_error: np.ndarray
    std: np.ndarray = field(repr=False)
    ratios: dict[str, np.ndarray] = field(repr=False)

    def coverage(
        self, which: np.ndarray | None = None, tolerance: str | None = None
    ) -> float | None:
        """Return the share of steps that keep all tolerances, or one of them."""
        named = self.ratios if tolerance is None else {tolerance: self.ratios[tolerance]}
        kept = np.all([ratio <= 1 for ratio in named.values()], axis=0)
        kept = kept if which is None else kept[which]
        return float(np.mean(kept)) if len(kept) else None


def true_frames(state: RunState, workspace: RunWorkspace, teacher: Teacher) -> Frames:
    """Evaluate the teacher at all steps of a run that have not been evaluated."""
    lines = notes(workspace)
    generations, closing = _generations(lines), _closing(lines)
    origins = {t.index: t.origin for t in state.trajectories}
    in_block = state.posterior.attempt is not None
    columns: dict[str, list[np.ndarray]] = {}
    for trajectory in workspace.trajectory_folders():
        for path in trajectory.trajectory_files():
            part = _segment(trajectory, path, state, teacher)
            if part is None:
                continue
            n, segment = len(part["step"]), int(path.stem)
            part["trajectory"] = np.full(n, trajectory.index)
            part["generation"] = np.full(n, generations.get((trajectory.index, segment), -1))
            part["block"] = in_block & (part["step"] > origins[trajectory.index])
            lost = (trajectory.index, segment) in closing
            part["exploring"] = ~part["block"] & ~np.full(n, lost)
            for name, values in part.items():
                columns.setdefault(name, []).append(values)
    if not columns:
        raise ValueError(f"no frames in {workspace.folder}: the run needs traj_interval: 1")
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    ratios = {n.removeprefix(RATIO): whole.pop(n) for n in list(whole) if n.startswith(RATIO)}
    return Frames(**whole, ratios=ratios)


def redone_share(
    state: RunState, workspace: RunWorkspace, teacher: Teacher
) -> tuple[int, float | None]:
    """Return the steps that were set aside and taken again, and how many kept the tolerances."""
    kept: list[np.ndarray] = []
    for trajectory in workspace.trajectory_folders():
        for path in sorted((trajectory.folder / "redone" / "trajectory").glob("*.extxyz")):
            part = _segment(trajectory, path, state, teacher)
            if part is not None:
                ratios = [values for name, values in part.items() if name.startswith(RATIO)]
                kept.append(np.all([ratio <= 1 for ratio in ratios], axis=0))
    found = np.concatenate(kept) if kept else np.array([])
    return len(found), float(np.mean(found)) if len(found) else None


def _generations(lines: Sequence[dict[str, Any]]) -> dict[tuple[int, int], int]:
    """Return the generation that moved each (trajectory, segment)."""
    found: dict[tuple[int, int], int] = {}
    for line in lines:
        # a segment is moved between two notes with the weights of both
        for trajectory, segment in enumerate(line.get("segments", ())):
            if line["generation"] is not None:
                found.setdefault((trajectory, segment - 1), line["generation"])
    return found


def _closing(lines: Sequence[dict[str, Any]]) -> set[tuple[int, int]]:
    """Return the (trajectory, segment) that were moved in closing blocks."""
    moves = [line for line in lines if "attempt" in line]
    return {
        (trajectory, segment)
        for before, after in pairwise(moves)
        if before["attempt"] is not None
        for trajectory, segment in enumerate(before["segments"])
        if after["segments"][trajectory] > segment
    }


def _segment(
    trajectory: TrajectoryFolder, path: Path, state: RunState, teacher: Teacher
) -> dict[str, np.ndarray] | None:
    """Return what is known of the model steps of a segment; None if it has none."""
    frames = ase.io.read(path, ":", format="extxyz") if path.stat().st_size else []
    frames = [atoms for atoms in frames if atoms.info["source"] == "model"]
    if not frames:
        return None
    kept = trajectory.folder / "truth" / f"{path.stem}.npz"
    if kept.exists():
        with np.load(kept) as content:
            known = any(name.startswith(RATIO) for name in content.files)
            if len(content["step"]) == len(frames) and known:
                return dict(content)
    with (path.parents[1] / "thermo" / f"{path.stem}.csv").open() as file:
        stds = {int(row["step"]): row["energy_std"] for row in csv.DictReader(file)}
    plain = [bare(atoms) for atoms in frames]
    posterior = state.posterior
    by_force = any(t.quantity == "force" for t in posterior.spec.tolerance)
    truth, true_forces = teacher.truth(plain, by_force)
    step = np.array([int(atoms.info["step"]) for atoms in frames])
    foundation = np.full(len(frames), np.nan)
    chosen = np.flatnonzero(step % FOUNDATION_EVERY == 0)
    if len(chosen):
        elements = tuple(sorted(set(frames[0].get_chemical_symbols())))
        student = _potential(state.posterior.foundation_model, elements)
        energies, _ = _energies(student, [plain[i] for i in chosen])
        foundation[chosen] = energies - (state.posterior.energy_offset or 0.0) - truth[chosen]
    error = np.array([atoms.get_potential_energy() for atoms in frames]) - truth
    content = {
        "step": step,
        "error": error,
        "foundation_error": foundation,
        "std": np.array([float(stds.get(int(s)) or "nan") for s in step]),
    }
    wrong = np.zeros((len(frames), len(frames[0]), 3))
    if true_forces is not None:
        wrong = np.array([atoms.get_forces() for atoms in frames]) - true_forces
    rows = [error_ratios(posterior, float(e), f) for e, f in zip(error, wrong, strict=True)]
    # the truth of a stress is not evaluated
    names = [t.name for t in posterior.spec.tolerance if t.quantity != "stress"]
    content |= {RATIO + name: np.array([row[name] for row in rows]) for name in names}
    kept.parent.mkdir(exist_ok=True)
    np.savez(kept, **content)
    return content


def block_frames(state: RunState, workspace: RunWorkspace) -> Iterator[tuple[int, Atoms]]:
    """Give the steps of the latest closing block, each with the number of its trajectory."""
    origins = {t.index: t.origin for t in state.trajectories}
    for trajectory in workspace.trajectory_folders():
        for path in trajectory.trajectory_files():
            frames = ase.io.read(path, ":", format="extxyz") if path.stat().st_size else []
            for atoms in frames:
                if int(atoms.info["step"]) > origins[trajectory.index]:
                    yield trajectory.index, atoms
