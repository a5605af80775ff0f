"""What a finished model is worth: on MD of the teacher, and in MD of its own.

The same for whatever made the model. A *test trajectory* of the teacher gives the RMSE of forces;
fresh MD on the model gives its true coverage, and how far its structure is from the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from scipy.spatial.distance import pdist
from truth_cases import Case
from truth_runs import Teacher, bare

from onfly.analysis.rdf import radial_distribution
from onfly.potentials.execution import one_thread
from onfly.schemas import RunState
from onfly.seeds import numpy_stream
from onfly.session import Session

__all__ = ["ModelCalculator", "Shifted", "check", "moved", "structure_distance", "teacher_frames"]

FRICTION = 0.01  # 1/fs
EVERY = 2  # MD steps between two frames
TEST_EVERY = 10  # MD steps between two configurations whose forces are compared
R_MAX, N_BINS = 6.0, 60
TOO_HOT = 5.0  # times the temperature, plus 500 K: the MD has left the physical world


class ModelCalculator(Calculator):
    """The mean of a run's newest posterior, on the scale of the labels."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, session: Session, state: RunState) -> None:
        super().__init__()
        run = session.open(state.posterior)
        self.predictor, self.shift = run.predictor(), run.offset

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Evaluate energy and forces."""
        super().calculate(atoms, properties, system_changes)
        found = self.predictor.predict(self.atoms, stress=False)
        energy = found.energy - self.shift
        self.results = {"energy": energy, "free_energy": energy, "forces": found.forces}


class Shifted(Calculator):
    """Another calculator with a constant taken from its energy, such as an untuned student."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, inner: Calculator, shift: float) -> None:
        super().__init__()
        self.inner, self.shift = inner, shift

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Evaluate energy and forces."""
        super().calculate(atoms, properties, system_changes)
        plain = bare(self.atoms)
        energy = float(self.inner.get_potential_energy(plain)) - self.shift
        self.results = {"energy": energy, "free_energy": energy}
        self.results["forces"] = self.inner.get_forces(plain)


def moved(
    calculator: Calculator, case: Case, n_steps: int, key: tuple[str | int, ...]
) -> tuple[list[Atoms], bool]:
    """Return frames of MD at the temperature of the last stage, and whether it stayed physical.

    Starts from the system's configuration, displaced by a stream of its own; the first fifth of
    the steps is left out.
    """
    rng = numpy_stream("peers", *key)
    temperature = case.stages[-1][0]
    atoms = case.atoms(int(rng.integers(2**31)))
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    atoms.calc = calculator
    dynamics = Langevin(
        atoms,
        case.time_step * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    frames: list[Atoms] = []
    with one_thread():
        for step in range(1, n_steps + 1):
            dynamics.run(1)
            energy, kinetic = atoms.get_potential_energy(), atoms.get_temperature()
            if not (np.isfinite(energy) and kinetic < TOO_HOT * temperature + 500.0):
                return frames, False
            if step % EVERY == 0 and step > n_steps // 5:
                frame = bare(atoms)
                frame.info["step"] = step
                frame.calc = SinglePointCalculator(
                    frame, energy=energy, forces=atoms.get_forces().copy()
                )
                frames.append(frame)
    return frames, True


def teacher_frames(
    case: Case, teacher: Teacher, n_steps: int, seed: int, folder: Path, which: str = "test"
) -> list[Atoms]:
    """Return frames of a teacher's trajectory, from the folder if they are there."""
    path = folder / f"teacher-{case.name}-{which}-{n_steps}-{seed}.extxyz"
    if not path.exists():
        frames, physical = moved(teacher.calculator(), case, n_steps, (case.name, which, seed))
        if not physical:
            raise SystemExit(f"the MD of the teacher of {case.name} left the physical world")
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        ase.io.write(temporary, frames, format="extxyz")
        temporary.replace(path)
    found = ase.io.read(path, ":", format="extxyz")
    assert isinstance(found, list)
    return found


def distances(frames: Sequence[Atoms]) -> np.ndarray:
    """Return g(r) of a crystal, or the density of interatomic distances of a molecule."""
    if frames[0].pbc.all():
        return radial_distribution(frames, R_MAX, N_BINS).g
    found = np.concatenate([pdist(atoms.positions) for atoms in frames])
    return np.histogram(found, bins=N_BINS, range=(0.0, R_MAX))[0] / len(frames)


def structure_distance(frames: Sequence[Atoms], reference: Sequence[Atoms]) -> float:
    """Return the L1 distance of two distributions over that of the reference and nothing."""
    ours, theirs = distances(frames), distances(reference)
    return float(np.abs(ours - theirs).sum() / theirs.sum())


def check(
    calculator: Calculator,
    case: Case,
    teacher: Teacher,
    n_steps: int,
    seed: int,
    folder: Path,
    name: str = "fresh",
) -> dict[str, Any]:
    """Return the figures of a model; energies are on the scale of the teacher.

    Parameters
    ----------
    calculator
        The model.
    n_steps
        MD steps of the teacher's trajectory, and of the model's.
    folder
        Where the teacher's trajectory is kept.
    name
        Of the stream of the model's MD; the same for all models, so that they start alike.
    """
    reference = teacher_frames(case, teacher, n_steps, seed, folder)
    apart = [atoms for atoms in reference if atoms.info["step"] % TEST_EVERY == 0] or reference
    force_errors, energy_errors = [], []
    with one_thread():
        for atoms in apart:
            plain = bare(atoms)
            energy_errors.append(
                float(calculator.get_potential_energy(plain)) - atoms.get_potential_energy()
            )
            force_errors.append(calculator.get_forces(plain) - atoms.get_forces())
    frames, physical = moved(calculator, case, n_steps, (case.name, name, seed))
    row: dict[str, Any] = {
        "test_frames": len(apart),
        "force_rmse_mev": _rms(np.concatenate(force_errors)),
        "test_true": _share(np.array(energy_errors), case.threshold),
        "physical": physical,
    }
    if len(frames) > 1:
        own = np.array([atoms.get_potential_energy() for atoms in frames])
        errors = own - teacher.truth([bare(atoms) for atoms in frames])[0]
        row["fresh_true"] = _share(errors, case.threshold)
        row["fresh_rms_mev"] = _rms(errors)
        row["structure"] = structure_distance(frames, reference)
    return row


def _rms(errors: np.ndarray) -> float:
    return float(1000 * np.sqrt(np.mean(np.square(errors))))


def _share(errors: np.ndarray, threshold: float) -> float:
    return float(np.mean(np.abs(errors) <= threshold))
