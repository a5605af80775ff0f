"""What a fit leaves of labels that arrive as in a run, and what it makes of configurations near.

    python benchmarks/learner.py --cases ethanol,nacl --models DIR --vary "warm_up=[0,0.1]"

MD on the teacher gives a trajectory; every second of its frames is a label. They arrive in portions
of one to four, each learned in one update that goes on from the one before. After each update:
RMS errors on the labels that were learned (``fit``) and on the newest of them (``new``), on the
frames between labels (``near``), on those that follow the last label (``next``) and on the end of
the trajectory (``far``). The rows are means over the updates after the second.
A case of 160 atoms takes fewer labels: ``--cases cazrs3-2h --sizes 1,6,7,8``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import forces
import numpy as np
import yaml
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from common import Report, arguments
from forces import Learner
from truth import parsed
from truth_cases import CASES, Case, model_path
from truth_runs import Teacher, bare

SIZES = (1, 5, 6, 7, 11, 12, 13, 17, 18, 19, 20)
QUICK = (1, 3, 4, 5)
SPACING = 12  # MD steps between frames
FAR = 20  # frames of the end


def trajectory(case: Case, teacher: Teacher, n_frames: int, seed: int) -> list[Atoms]:
    """Return labelled frames of MD on the teacher."""
    rng = np.random.default_rng(seed)
    atoms = case.atoms(seed)
    atoms.calc = teacher.calculator()
    kelvin = case.stages[0][0]
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
    friction = 0.02 / units.fs
    dynamics = Langevin(
        atoms, case.time_step * units.fs, temperature_K=kelvin, friction=friction, rng=rng
    )
    frames = []
    for _ in range(n_frames):
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        frame = bare(atoms)
        frame.calc = SinglePointCalculator(frame, **results)
        frames.append(frame)
        dynamics.run(SPACING)
    return frames


def study(learner: Learner, frames: list[Atoms], sizes: Sequence[int]) -> dict[str, float]:
    """Return the mean errors over the updates, meV and meV/Å, and their CPU time in s.

    Parameters
    ----------
    learner
        Whose training configurations are every second of the frames.
    frames
        Of the trajectory.
    sizes
        Labels learned after each update.
    """
    rows = []
    for size in sizes:
        before, cpu = learner.n_labels, learner.cpu["update"]
        learner.learn(size)
        params, labels = learner.state.members[0], learner.labels
        sets = {
            "fit": labels.errors(params),
            "new": labels.errors(params, list(range(before, size))),
            "near": learner.target(frames[1 : 2 * size : 2]).errors(params),
            "next": learner.target(frames[2 * size : 2 * size + 6]).errors(params),
            "far": learner.target(frames[-FAR:]).errors(params),
        }
        row = {"cpu_s": learner.cpu["update"] - cpu}
        row |= {f"{name}_E": _rms(found.energy) for name, found in sets.items()}
        rows.append(row | {f"{name}_F": _rms(found.forces) for name, found in sets.items()})
    later = rows[2:]
    return {k: float(np.mean([row[k] for row in later])) for k in later[0]} | {
        "update_cpu_s": learner.cpu["update"]
    }


def _rms(values) -> float:
    return 1000 * float(values.square().mean().sqrt())


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", default="nacl", help="names of benchmarks/truth.py")
    parser.add_argument("--sizes", help="labels learned after each update, comma-separated")
    parser.add_argument("--models", help="folder with the MACE files of the molecules")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=[…]", help="options of the posterior"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="{KEY: VALUE, …}", help="several options"
    )
    args = parser.parse_args()
    logging.getLogger("onfly").setLevel(logging.ERROR)
    sizes = QUICK if args.quick else SIZES
    if args.sizes:
        sizes = tuple(int(size) for size in args.sizes.split(","))
    changes = [{}] + [{k: v} for k, values in map(parsed, args.vary) for v in values]
    changes += map(yaml.safe_load, args.set)
    report = Report("learner", {"vary": args.vary, "set": args.set, "sizes": list(sizes)})
    for name in ["toy"] if args.quick else args.cases.split(","):
        case = CASES[name]
        teacher = Teacher(model_path(case.teacher, args.models))
        frames = trajectory(case, teacher, 2 * sizes[-1] + FAR + 10, args.seed)
        student = model_path(case.student, args.models)
        learned = forces.Case(name, student, frames[::2], {}, case.threshold, sizes)
        for change in changes:
            options = ({"n_steps": 20} if args.quick else {}) | change
            learner = Learner(learned, args.seed, study="learner", **options)
            row = study(learner, frames, sizes)
            report.add(case=name, seed=args.seed, set=str(change or ""), **row)
            if args.json:
                report.write(args.json)
    report.finish(args.json)


if __name__ == "__main__":
    main()
