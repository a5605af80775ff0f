"""What a fit leaves of labels that arrive as in a run, and what it makes of configurations near.

    python benchmarks/learner.py --cases ethanol,nacl --models DIR --vary "warm_up=[0,0.1]"

MD on the teacher gives a trajectory; every second of its frames is a label. They arrive in portions
of one to four, each learned in one update that goes on from the one before. After each update:
RMS errors on the labels that were learned (``fit``) and on the newest of them (``new``), on the
frames between labels (``near``), on those that follow the last label (``next``) and on the end of
the trajectory (``far``). The rows are means over the updates after the second.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from common import Report, arguments, cpu_timer
from truth import parsed
from truth_cases import CASES, Case
from truth_runs import Teacher

from onfly.bayes import LastLayerPosterior, LikelihoodScales
from onfly.labels.single_point import build_calculator
from onfly.learning import potential_target
from onfly.learning.target import PotentialTarget
from onfly.potentials import load_foundation

SIZES = (1, 5, 6, 7, 11, 12, 13, 17, 18, 19, 20)
QUICK = (1, 3, 4, 5)
SPACING = 12  # MD steps between frames
FAR = 20  # frames of the end


def trajectory(case: Case, teacher: Teacher, n_frames: int, seed: int) -> list[Atoms]:
    """Return labelled frames of MD on the teacher."""
    rng = np.random.default_rng(seed)
    atoms = case.atoms(seed)
    maker = teacher.maker()
    atoms.calc = build_calculator(maker.calculator, maker.calculator_kwargs or {})
    kelvin = case.stages[0][0]
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
    friction = 0.02 / units.fs
    dynamics = Langevin(
        atoms, case.time_step * units.fs, temperature_K=kelvin, friction=friction, rng=rng
    )
    frames = []
    for _ in range(n_frames):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
        frames.append(frame)
        dynamics.run(SPACING)
    return frames


class Study:
    """One trajectory, and a student that learns it."""

    def __init__(self, case: Case, student: str, frames: list[Atoms], seed: int) -> None:
        self.student, self.frames, self.key = student, frames, ("learner", case.name, seed)
        self.elements = tuple(sorted(set(frames[0].get_chemical_symbols())))
        self.potential = load_foundation(student, elements=self.elements)
        self.scales = LikelihoodScales.for_threshold(case.threshold, n_atoms=len(frames[0]))
        first = self.potential.collate([self.potential.graph(frames[0])])
        energy = self.potential.evaluate(self.potential.parameters(), first, forces=False).energy
        self.offset = float(energy[0]) - frames[0].get_potential_energy()

    def target(self, frames: Sequence[Atoms]) -> PotentialTarget:
        """Return the target of labelled frames."""
        return potential_target(
            self.student,
            [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in frames],
            [a.get_potential_energy() + self.offset for a in frames],
            [a.get_forces() for a in frames],
            None,
            self.scales,
            elements=self.elements,
        )

    def learn(self, posterior: LastLayerPosterior, sizes: Sequence[int]) -> dict[str, float]:
        """Return the mean errors over the updates, meV and meV/Å, and the CPU time in s."""
        state, before, cpu = posterior.initial(self.potential, self.key), 0, {"update": 0.0}
        rows = []
        for generation, size in enumerate(sizes, 1):
            labels = self.target(self.frames[: 2 * size : 2])
            with cpu_timer(cpu, "update"):
                state, _ = posterior.update(
                    state, lambda labels=labels: labels, seed_key=self.key,
                    generation=generation, n_new=size - before,
                )  # fmt: skip
            params = state.members[0]
            sets = {
                "fit": labels.errors(params),
                "new": labels.errors(params, list(range(before, size))),
                "near": self.target(self.frames[1 : 2 * size : 2]).errors(params),
                "next": self.target(self.frames[2 * size : 2 * size + 6]).errors(params),
                "far": self.target(self.frames[-FAR:]).errors(params),
            }
            before = size
            row = {f"{name}_E": _rms(found.energy) for name, found in sets.items()}
            rows.append(row | {f"{name}_F": _rms(found.forces) for name, found in sets.items()})
        later = rows[2:]
        return {k: float(np.mean([row[k] for row in later])) for k in later[0]} | {
            "update_cpu_s": cpu["update"]
        }


def _path(source: str, models: str | None) -> str:
    return f"{models}/{source}" if source.endswith(".model") else source


def _rms(values) -> float:
    return 1000 * float(values.square().mean().sqrt())


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", default="nacl", help="names of benchmarks/truth.py")
    parser.add_argument("--models", help="folder with the MACE files of the molecules")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=[…]", help="options of the posterior"
    )
    args = parser.parse_args()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    sizes = QUICK if args.quick else SIZES
    changes = [{}] + [{k: v} for k, values in map(parsed, args.vary) for v in values]
    report = Report("learner", {"vary": args.vary, "sizes": list(sizes)})
    for name in ["toy"] if args.quick else args.cases.split(","):
        case = CASES[name]
        teacher = Teacher(_path(case.teacher, args.models))
        frames = trajectory(case, teacher, 2 * sizes[-1] + FAR + 10, args.seed)
        study = Study(case, _path(case.student, args.models), frames, args.seed)
        for change in changes:
            posterior = LastLayerPosterior(**({"n_steps": 20} if args.quick else {}) | change)
            row = study.learn(posterior, sizes)
            report.add(case=name, seed=args.seed, set=str(change or ""), **row)
    report.finish(args.json)


if __name__ == "__main__":
    main()
