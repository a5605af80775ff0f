"""Run folders written through the schemas: a model that learns, with labels, logs and audits."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts.workspace import RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.labels.store import LabelStore
from onfly.proof import Ledger, LedgerEntry
from onfly.rounds.new import new_run
from onfly.rounds.verdict import judge_run
from onfly.schemas import (
    CalibrationDoc,
    EnsembleDoc,
    FineTunedModelDoc,
    LabelDoc,
    RunState,
    TrajectoryDoc,
    from_any_structure,
    structure_hash,
)
from onfly.schemas.artifact import ArtifactRef
from onfly.schemas.model import ErrorStatistics
from onfly.spec import RunSpec

THRESHOLD = 0.5 * units.kcal / units.mol


REF = ArtifactRef(path="md/x", sha256="0" * 64, nbytes=1)
HEADER = (
    "step,time_fs,stage,temperature,potential_energy,kinetic_energy,total_energy,volume,"
    "energy_std,probability,source\n"
)


@dataclass(frozen=True)
class Scenario:
    """What the written run looks like."""

    run_id: str = "CaZrS3-demo"
    phase: str = "done"
    n_steps: int = 3000
    audits: bool = True
    closing: int = 31  # audits of a closing block behind the last step
    n_failed: int = 0  # of them
    published: bool = True
    molecule: bool = False
    stop_reason: str | None = "all stages are done"
    campaign: str | None = "sulfides"
    seed: int = 0


def perovskite() -> Atoms:
    """CaZrS3 with a hydrogen at one sulphur, 41 atoms."""
    cell = Atoms(
        "CaZrS3",
        scaled_positions=[
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.5, 0.5, 0],
            [0.5, 0, 0.5],
            [0, 0.5, 0.5],
        ],
        cell=[4.9, 4.9, 4.9],
        pbc=True,
    ).repeat(2)
    cell.append("H")
    cell.positions[-1] = cell.positions[2] + [0.9, 0.9, 0.4]
    return cell


class Writer:
    """Write one run folder."""

    def __init__(self, root: Path, scenario: Scenario) -> None:
        self.scenario = scenario
        self.workspace = RunWorkspace(root, scenario.run_id)
        self.store = LabelStore(root / "labels")
        self.trajectory = self.workspace.trajectory(0)
        self.folder = self.workspace.folder
        self.rng = np.random.default_rng(scenario.seed)
        self.atoms = molecule("CH3CH2OH") if scenario.molecule else perovskite()
        self.dt = 0.5 if scenario.molecule else 1.5
        half = scenario.n_steps // 2
        self.spec = RunSpec.from_flat(
            {
                "foundation_model": "mace-mp-medium",
                "threshold": THRESHOLD,
                "stages": [
                    {"n_steps": half, "temperature": 300.0},
                    {"n_steps": half, "temperature": 800.0},
                ],
                "time_step": self.dt,
                "audit_interval": 100,
                "posterior": {"kind": "sghmc", "n_members": 4, "n_steps": 400},
                "proof": {"failures": 0},
                "seed": scenario.seed,
            }
        )
        self.ledger = Ledger()
        self.calibration = Calibration()
        self.energy = -250.0
        self.generation = 0

    @staticmethod
    def structure(atoms: Atoms):
        if atoms.pbc.any():
            return AseAtomsAdaptor.get_structure(atoms)
        return AseAtomsAdaptor.get_molecule(atoms)

    def frame(self) -> Atoms:
        atoms = self.atoms.copy()
        atoms.positions += self.rng.normal(scale=0.08, size=atoms.positions.shape)
        atoms.set_momenta(self.rng.normal(size=atoms.positions.shape))
        forces = self.rng.normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=self.energy, forces=forces)
        return atoms

    def label(self, step: int, reason: str, fails: bool = False) -> None:
        index, atoms = self.ledger.n_labels, self.frame()
        learned = self.ledger.n_learned
        spread = THRESHOLD * (2.5 / (1 + 0.35 * learned) + 0.25)
        energy = self.energy + self.rng.normal(scale=0.3)
        fields = {}
        if reason != "initial":
            error = self.rng.normal(scale=spread)
            if reason == "closing":
                error = THRESHOLD * (2.5 if fails else self.rng.uniform(-0.9, 0.9))
            std = 0.5 * spread * self.rng.uniform(0.8, 1.3)
            fields = {
                "generation": self.generation,
                "mean": energy + error,
                "std": std,
                "error": error,
                "errors": {"energy": abs(error) / THRESHOLD},
                "probability": self.calibration.exceedance(std, THRESHOLD),
                "force_rmse": 0.15 / (1 + 0.2 * learned) + 0.02,
            }
            self.calibration = self.calibration.update(error, std)
        if reason == "closing":
            fields["attempt"] = 0
        structure = self.structure(atoms)
        corrections = []
        if index == 3:
            corrections = [
                {
                    "handler": "VaspErrorHandler",
                    "errors": ["algo_tet"],
                    "actions": [{"dict": "INCAR", "action": {"_set": {"ALGO": "All"}}}],
                }
            ]
        doc = from_any_structure(
            LabelDoc,
            structure,
            structure=structure,
            structure_hash=structure_hash(structure),
            energy=energy,
            forces=self.rng.normal(size=(len(atoms), 3)).tolist(),
            labeller="otf vasp label",
            input_hash="0" * 64,
            corrections=corrections,
            elapsed=600.0 + 50 * self.rng.random(),
        )
        entry = LedgerEntry(
            index=index,
            trajectory=0,
            step=step,
            reason=reason,
            label=self.store.put(doc),
            foundation_error=0.0 if index == 0 else self.rng.normal(scale=0.15),
            foundation_force_rmse=0.2 + 0.05 * self.rng.random(),
            **fields,
        )
        self.ledger = self.ledger.append(entry)

    def learn(self, record: bool) -> None:
        self.generation += 1
        self.ledger = self.ledger.learned(self.generation, self.ledger.n_labels)
        if record:
            self.training(self.generation)

    def training(self, generation: int) -> None:
        step = np.arange(0, 400, 10)
        chains = []
        for _ in range(4):
            rise = 1 - np.exp(-step / 80)
            noise = self.rng.normal(scale=2, size=step.size)
            chains.append(
                {
                    "step": step.tolist(),
                    "log_likelihood": (20 * generation - 200 + 180 * rise + noise).tolist(),
                    "log_prior": (-40 * rise - 5 * generation + noise).tolist(),
                    "step_size": (5e-4 * (1 + np.cos(np.pi * step / 400))).tolist(),
                    "temperature": np.clip((step - 80) / 20, 0, 1).tolist(),
                }
            )
        record = {
            "generation": generation,
            "n_labels": self.ledger.n_labels,
            "seconds": 12.3 + generation,
            "drift": 0.1 * np.sqrt(generation),
            "chains": chains,
        }
        self.workspace.write_training(generation, record)

    def write(self) -> Path:
        s = self.scenario
        early = np.unique((3 * 1.45 ** np.arange(18)).astype(int))
        steps = {int(k): "uncertain" for k in early if k < s.n_steps}
        for k in (10, 20):
            steps[k] = "warmup"
        if s.n_steps > 1700:
            steps[s.n_steps // 2 + 15] = "uncertain"
            steps[s.n_steps // 2 + 40] = "guard"
        if s.audits:
            late = np.arange(min(50, s.n_steps // 2), s.n_steps)
            for k in self.rng.choice(late, size=min(24, late.size // 2), replace=False):
                steps.setdefault(int(k), "audit")
        self.label(0, "initial")
        self.learn(record=False)
        segment, rows, frames = 0, [], []
        thermostat, volume = 300.0, self.atoms.get_volume() if self.atoms.pbc.any() else None
        for k in range(1, s.n_steps + 1):
            stage = 0 if k <= s.n_steps // 2 else 1
            goal = (300.0, 800.0)[stage]
            thermostat += (goal - thermostat) / 80 + self.rng.normal(scale=8)
            kinetic = 1.5 * len(self.atoms) * units.kB * thermostat
            potential = self.energy + kinetic + self.rng.normal(scale=0.05)
            std = (
                THRESHOLD
                * (0.06 + 0.5 / (1 + 0.5 * self.ledger.n_labels))
                * self.rng.uniform(0.7, 1.3)
            )
            p = self.calibration.exceedance(std, THRESHOLD)
            source = "label" if k in steps else "model"
            vol = "" if volume is None else f"{volume * (1 + 0.002 * np.sin(k / 200)):.4f}"
            rows.append(
                f"{k},{k * self.dt},{stage},{thermostat:.2f},{potential:.6f},{kinetic:.6f},"
                f"{potential + kinetic:.6f},{vol},{std:.6g},{p:.6g},{source}"
            )
            if k % 50 == 0:
                atoms = self.frame()
                atoms.info.update(step=k, time_fs=k * self.dt, stage=stage, source=source)
                frames.append(atoms)
            if k in steps or k == s.n_steps:
                path = self.trajectory.thermo_path(segment)
                path.write_text(HEADER + "\n".join(rows) + "\n")
                if frames:
                    ase.io.write(self.trajectory.frames_path(segment), frames)
                rows, frames, segment = [], [], segment + 1
            if k in steps:
                self.label(k, steps[k])
                if steps[k] != "audit":
                    self.learn(record=s.n_steps > 100)
        if s.audits and s.phase == "done":
            for k in range(s.closing):
                self.label(s.n_steps + 1 + 20 * k, "closing", fails=k < s.n_failed)
        self.finish()
        return self.folder

    def finish(self) -> None:
        s, ledger = self.scenario, self.ledger
        audits = ledger.of("audit", "closing")
        within = sum(entry.within() for entry in audits)
        ensemble = EnsembleDoc(generation=self.generation, posterior="sghmc", members=[])
        calibration = CalibrationDoc(
            shape=1.5, rate=10.0, n=self.calibration.n, sum_z2=self.calibration.sum_z2
        )
        ended = s.phase in ("done", "stopped")
        model_id = f"{s.run_id}-model" if ended and s.published else None
        structure = self.structure(self.atoms)
        state: RunState = new_run(self.spec, structure, run_id=s.run_id, campaign=s.campaign)
        trajectory = TrajectoryDoc(
            md_state=REF,
            md_step=s.n_steps,
            n_steps=s.n_steps * (1 if s.phase == "done" else 2),
            done=s.phase == "done",
            cpu_seconds=310.0,
        )
        state = state.with_trajectories([trajectory]).evolve(
            phase=s.phase,
            stopped=s.phase == "stopped",
            labeller="otf vasp label",
            ensemble=ensemble,
            calibration=calibration,
            energy_offset=3.2,
            n_records=self.workspace.write_ledger(ledger),
            n_labels=ledger.n_labels,
            n_waits=17,
            n_calls=len(ledger.calls),
            n_audits=len(audits),
            n_audits_within=within,
            stop_reason=s.stop_reason if ended else None,
            model_id=model_id,
            cpu_seconds={"update": 2200.0, "label": 18000.0},
        )
        self.workspace.write_state(state)
        if model_id is None:
            return
        verdict = judge_run(state, ledger)
        model = from_any_structure(
            FineTunedModelDoc,
            structure,
            doc_version="0.2",
            model_id=model_id,
            run_id=s.run_id,
            campaign=s.campaign,
            state=verdict.state,
            stop_reason=s.stop_reason or "",
            structure=structure,
            foundation_model="mace-mp-medium",
            labeller="otf vasp label",
            threshold_ev=THRESHOLD,
            temperature_range=(300.0, 800.0),
            n_steps=s.n_steps,
            simulated_time_fs=s.n_steps * self.dt,
            energy_offset=3.2,
            n_labels=ledger.n_labels,
            n_waits=17,
            n_audits=len(audits),
            n_audits_within=within,
            verdict=verdict.model_dump(mode="json"),
            calibration=calibration,
            audits=ErrorStatistics(n=len(audits), within_threshold=within, rmse=0.004),
            ensemble=ensemble,
            spec=self.spec.model_dump(mode="json"),
        )
        (self.folder / "model.json").write_text(model.model_dump_json())


def forget(folder: Path, *names: str) -> None:
    """Remove files and folders of a run."""
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.fixture
def write_run(tmp_path):
    """Return the function that writes a run folder from keyword arguments of `Scenario`."""

    def write(**changes) -> Path:
        return Writer(tmp_path, Scenario(**changes)).write()

    return write


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A finished run with a ready model; do not change its files."""
    return Writer(tmp_path_factory.mktemp("finished"), Scenario()).write()
