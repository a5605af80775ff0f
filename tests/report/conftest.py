"""Run folders written through the schemas: a model that learns, with labels, logs and audits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from onfly.schemas.run import CalibrationDoc, RunDoc
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.analysis.metrics import binomial_interval
from onfly.bayes.calibration import Calibration
from onfly.schemas.artifact import EnsembleDoc
from onfly.schemas.label import LabelDoc, structure_hash
from onfly.schemas.model import ErrorStatistics, FineTunedModelDoc
from onfly.schemas.types import from_any_structure

THRESHOLD = 0.5 * units.kcal / units.mol


@dataclass(frozen=True)
class Scenario:
    """What the written run looks like."""

    run_id: str = "CaZrS3-demo"
    phase: str = "done"
    state: str | None = "ready"  # of the published model; None: nothing is published
    n_steps: int = 3000
    audits: bool = True
    accurate: bool = True
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
        self.folder = root / "runs" / scenario.run_id
        for name in ("labels", "thermo", "trajectory", "training"):
            (self.folder / name).mkdir(parents=True)
        self.rng = np.random.default_rng(scenario.seed)
        self.atoms = molecule("CH3CH2OH") if scenario.molecule else perovskite()
        self.dt = 0.5 if scenario.molecule else 1.5
        self.stages = [
            {"n_steps": scenario.n_steps // 2, "temperature": 300.0, "ensemble": "nvt"},
            {"n_steps": scenario.n_steps // 2, "temperature": 800.0, "ensemble": "nvt"},
        ]
        self.labels: list[LabelDoc] = []
        self.calibration = Calibration()
        self.energy = -250.0

    def meta(self, cls, **fields):
        structure = self.structure(self.atoms)
        return from_any_structure(cls, structure, **fields)

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

    def label(self, step: int, reason: str) -> None:
        index, atoms = len(self.labels), self.frame()
        n_learned = index
        spread = THRESHOLD * (2.5 / (1 + 0.35 * n_learned) + 0.25)
        if not self.scenario.accurate:
            spread *= 4
        energy = self.energy + self.rng.normal(scale=0.3)
        fields = {}
        if reason != "initial":
            error = self.rng.normal(scale=spread)
            std = 0.5 * spread * self.rng.uniform(0.8, 1.3)
            fields = {
                "predicted_energy": energy + error,
                "predicted_std": std,
                "probability": self.calibration.exceedance(std, THRESHOLD),
                "force_rmse": 0.15 / (1 + 0.2 * n_learned) + 0.02,
            }
            self.calibration = self.calibration.update(error, std)
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
            run_id=self.scenario.run_id,
            index=index,
            reason=reason,
            md_step=step,
            foundation_energy=energy + (0 if index == 0 else self.rng.normal(scale=0.15)),
            foundation_force_rmse=0.2 + 0.05 * self.rng.random(),
            **fields,
        )
        self.labels.append(doc)
        (self.folder / "labels" / f"{index:05d}.json").write_text(doc.model_dump_json())

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
            "n_labels": len(self.labels),
            "seconds": 12.3 + generation,
            "drift": 0.1 * np.sqrt(generation),
            "chains": chains,
        }
        (self.folder / "training" / f"{generation:05d}.json").write_text(json.dumps(record))

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
        header = (
            "step,time_fs,stage,temperature,potential_energy,kinetic_energy,total_energy,volume,"
            "energy_std,probability,source\n"
        )
        segment, rows, frames, generation = 0, [], [], 0
        thermostat, volume = 300.0, self.atoms.get_volume() if self.atoms.pbc.any() else None
        for k in range(1, s.n_steps + 1):
            stage = 0 if k <= s.n_steps // 2 else 1
            goal = self.stages[stage]["temperature"]
            thermostat += (goal - thermostat) / 80 + self.rng.normal(scale=8)
            kinetic = 1.5 * len(self.atoms) * units.kB * thermostat
            potential = self.energy + kinetic + self.rng.normal(scale=0.05)
            std = (
                THRESHOLD * (0.06 + 0.5 / (1 + 0.5 * len(self.labels))) * self.rng.uniform(0.7, 1.3)
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
                (self.folder / "thermo" / f"{segment:05d}.csv").write_text(
                    header + "\n".join(rows) + "\n"
                )
                if frames:
                    ase.io.write(self.folder / "trajectory" / f"{segment:05d}.extxyz", frames)
                rows, frames, segment = [], [], segment + 1
            if k in steps:
                self.label(k, steps[k])
                if steps[k] != "audit":
                    generation += 1
                    if s.n_steps > 100:
                        self.training(generation)
        self.finish(generation)
        return self.folder

    def finish(self, generation: int) -> None:
        s = self.scenario
        audits = [label for label in self.labels if label.reason == "audit"]
        within = sum(abs(label.error) <= THRESHOLD for label in audits)
        ensemble = EnsembleDoc(generation=generation, posterior="sghmc", members=[])
        calibration = CalibrationDoc(
            shape=1.5, rate=10.0, n=self.calibration.n, sum_z2=self.calibration.sum_z2
        )
        model_id = f"{s.run_id}-model" if s.state else None
        settings = {
            "stages": self.stages,
            "time_step": self.dt,
            "audit_interval": 100,
            "max_probability": 0.05,
            "stopping": {"min_audits": 10, "min_coverage": 0.9, "max_labels": None},
            "sampler": {"kind": "sghmc", "n_chains": 4, "n_steps": 400},
        }
        cpu = {"md": 310.0, "update": 2200.0, "label": 18000.0}
        run = self.meta(
            RunDoc,
            run_id=s.run_id,
            campaign=s.campaign,
            phase=s.phase,
            foundation_model="mace-mp-medium",
            labeller="otf vasp label",
            threshold_ev=THRESHOLD,
            settings=settings,
            iteration=generation,
            md_step=s.n_steps,
            n_steps_total=sum(stage["n_steps"] for stage in self.stages)
            * (1 if s.phase == "done" else 2),
            ensemble=ensemble,
            calibration=calibration,
            energy_offset=3.2,
            n_labels=len(self.labels),
            n_interventions=len(self.labels) - len(audits) - 1,
            n_audits=len(audits),
            n_audits_within=within,
            audits_since_update=len(audits),
            audits_within_since_update=within,
            stop_reason=s.stop_reason if s.phase in ("done", "stopped") else None,
            model_id=model_id,
            cpu_seconds=cpu,
        )
        (self.folder / "run.json").write_text(run.model_dump_json())
        if s.state is None:
            return
        model = self.meta(
            FineTunedModelDoc,
            model_id=model_id,
            run_id=s.run_id,
            campaign=s.campaign,
            state=s.state,
            stop_reason=s.stop_reason or "",
            structure=self.structure(self.atoms),
            foundation_model="mace-mp-medium",
            labeller="otf vasp label",
            level_of_theory="PBE",
            threshold_ev=THRESHOLD,
            temperature_range=(300.0, 800.0),
            n_steps=s.n_steps,
            simulated_time_fs=s.n_steps * self.dt,
            energy_offset=3.2,
            n_labels=len(self.labels),
            n_audits=len(audits),
            n_audits_within=within,
            coverage=within / len(audits) if audits else None,
            coverage_interval=binomial_interval(within, len(audits)) if audits else None,
            calibration=calibration,
            interventions=ErrorStatistics(n=4),
            audits=ErrorStatistics(n=len(audits), within_threshold=within),
            drift=0.1 * np.sqrt(generation),
            ensemble=ensemble,
            settings=settings,
            cpu_seconds=cpu,
        )
        (self.folder / "model.json").write_text(model.model_dump_json())


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
