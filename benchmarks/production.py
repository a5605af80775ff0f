r"""MD on tuned models, on their foundation and on the teacher, from the same starts.

    python benchmarks/truth.py --cases cazrs3-h --resume runs/
    python benchmarks/truth.py --cases cazrs3-h --resume runs/ \
        --set "tolerance=[{quantity: energy, value: 15 kcal/mol}]"
    python benchmarks/production.py --case cazrs3-h --resume runs/ --runs 5 --figure production.png

All runs of the case in the folder of ``--resume`` are taken, each named by its tolerance. Every
model does the same number of production runs: Langevin dynamics, then NVE; run k of all models
starts from the same configuration with the same velocities. What is in the folder is not done
again. Reported are, as means over the runs with their standard errors, and p of Welch's test that a
model's mean is that of the teacher:

- for hydrogen in a sulphide: jumps between S in 1/ps for each H, the mean squared displacement of H
  after half a picosecond, and the S-S distance in the 50 fs before a jump;
- for LaMnO3: the distortion of the octahedra;
- for ethanol: how often its hydroxyl group is trans, and how often on a barrier;
- for other systems: the mean squared displacement.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from common import Report, arguments
from peers_check import FRICTION, TOO_HOT, ModelCalculator
from scipy.stats import ttest_ind
from truth_cases import CASES, Case, model_path
from truth_runs import Teacher, bare

from onfly.analysis.jumps import find_jumps
from onfly.analysis.msd import mean_squared_displacement, unwrap
from onfly.analysis.order import bond_length_distortion
from onfly.analysis.transitions import coordinate_series, dihedral
from onfly.potentials.execution import one_thread
from onfly.seeds import numpy_stream
from onfly.session import Session
from onfly.settings import OnflySettings
from onfly.units import EV_PER_KCAL_MOL

LAG_FS = 500.0  # of the mean squared displacement that is reported
BEFORE_FS = 50.0  # of a jump
MARGIN, STAY_FS = 0.2, 10.0  # Å, and how long a jump has to last
ROTOR = (3, 2, 1, 0)  # H, O, C, C of ASE's ethanol
TRANS, BARRIERS = 40.0, ((0.0, 30.0), (100.0, 140.0))  # degrees from 180, and from 0


def tuned(folder: Path, case: Case) -> dict[str, Callable[[], Calculator]]:
    """Return the models of the runs of a case, by their tolerance."""
    session, found = Session(OnflySettings(ARTIFACT_DIR=folder)), {}
    for path in sorted(folder.glob(f"runs/{case.name}-*/run.json")):
        state = session.workspace(path.parent.name).read_state()
        if state.posterior.ensemble is None or state.posterior.threshold_ev is None:
            continue
        name = f"K = {state.posterior.threshold_ev / EV_PER_KCAL_MOL:.3g} kcal/mol"
        if name in found:
            raise SystemExit(f"two runs of {case.name} in {folder} have {name}: keep one of them")
        found[name] = lambda state=state: ModelCalculator(session, state)
    return found


def trajectory(
    make: Callable[[], Calculator], case: Case, number: int, args: Any, path: Path
) -> tuple[list[Atoms], float]:
    """Return the NVE frames of one production run, and its drift of the energy in meV/atom/ps."""
    start = case.atoms(args.seed + number)
    if not path.exists():
        atoms, rng = bare(start), numpy_stream("production", case.name, args.seed, number)
        kelvin, time_step = case.stages[-1][0], case.time_step * units.fs
        atoms.calc = make()
        MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
        positions, energies = [], []
        with one_thread():
            Langevin(
                atoms, time_step, temperature_K=kelvin, friction=FRICTION / units.fs, fixcm=False,
                rng=rng,
            ).run(args.equilibration)  # fmt: skip
            dynamics = VelocityVerlet(atoms, time_step)
            for _ in range(args.steps):
                dynamics.run(1)
                if not atoms.get_temperature() < TOO_HOT * kelvin + 500.0:
                    raise SystemExit(f"{path.stem}: the MD left the physical world")
                positions.append(atoms.positions.astype("f4"))
                energies.append(atoms.get_total_energy())
        slope = np.polyfit(np.arange(len(energies)) * case.time_step / 1000, energies, 1)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, positions=positions, drift=1000 * slope / len(atoms))
        temporary.replace(path)
    with np.load(path) as content:
        frames = []
        for places in content["positions"]:
            frame = bare(start)
            frame.positions = places
            frames.append(frame)
        return frames, float(content["drift"])


def msd(frames: list[Atoms], symbol: str | None = None) -> np.ndarray:
    """Return the mean squared displacement of an element, or of all atoms, by lag (Å²)."""
    chosen = np.array([symbol in (None, s) for s in frames[0].symbols])
    return mean_squared_displacement(unwrap(frames, remove_drift=True)[:, chosen])


def at_lag(curve: np.ndarray, case: Case) -> float:
    """Return the curve at the lag that is reported, or at half of a shorter run."""
    return float(curve[min(round(LAG_FS / case.time_step), len(curve) // 2)])


def hydrogen(frames: list[Atoms], case: Case) -> dict[str, float]:
    """Return what H does in a sulphide."""
    stay, before = (max(round(fs / case.time_step), 1) for fs in (STAY_FS, BEFORE_FS))
    jumps = find_jumps(frames, "H", "S", margin=MARGIN, min_stay=stay)
    n_hydrogen = sum(s == "H" for s in frames[0].symbols)
    picoseconds = len(frames) * case.time_step / 1000
    gaps = [
        frames[k].get_distance(jump.origin, jump.target, mic=True)
        for jump in jumps
        for k in range(max(jump.frame - before, 0), jump.frame)
    ]
    return {
        "jumps_per_ps": len(jumps) / n_hydrogen / picoseconds,
        "S_S_before_jump": float(np.mean(gaps)) if gaps else np.nan,
    }


def hydroxyl(frames: list[Atoms]) -> dict[str, float]:
    """Return where the hydroxyl group of ethanol is, as shares of the time."""
    angle = np.asarray(coordinate_series(frames, dihedral(*ROTOR)))
    angle = np.minimum(angle, 360.0 - angle)  # both gauche wells are one
    barrier = np.any([(angle >= low) & (angle <= high) for low, high in BARRIERS], axis=0)
    return {"trans": float(np.mean(angle > 180.0 - TRANS)), "on_a_barrier": float(barrier.mean())}


def observables(frames: list[Atoms], case: Case, curve: np.ndarray) -> dict[str, float]:
    """Return what is compared of one production run; its mean squared displacement is known."""
    symbols = set(frames[0].get_chemical_symbols())
    if {"H", "S"} <= symbols:
        return hydrogen(frames, case) | {"msd_H": at_lag(curve, case)}
    if {"Mn", "O"} <= symbols:
        order = bond_length_distortion("Mn", "O")
        return {"distortion": float(np.mean([order(atoms) for atoms in frames[::5]]))}
    if case.name.startswith("ethanol"):
        return hydroxyl(frames)
    return {"msd": at_lag(curve, case)}


def draw(curves: dict[str, list[np.ndarray]], rows: list[dict], case: Case, path: Path) -> None:
    """Write the figure: displacements over time, and each observable of each run."""
    names = [key for key in rows[0]["runs"][0] if key != "drift"]
    figure, axes = plt.subplots(
        1, 1 + len(names), figsize=(3.4 * (1 + len(names)), 3.4), layout="constrained"
    )
    for at, row in enumerate(rows):
        found = np.array([curve[: len(curve) // 2] for curve in curves[row["model"]]])
        times = np.arange(found.shape[1]) * case.time_step / 1000
        mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
        axes[0].plot(times, mean, label=row["model"])
        axes[0].fill_between(times, mean - error, mean + error, alpha=0.2)
        for ax, name in zip(axes[1:], names, strict=True):
            values = [run[name] for run in row["runs"]]
            ax.plot([at] * len(values), values, "o", ms=4, mfc="none", color=f"C{at}")
            ax.errorbar([at], [row[name]], [row[f"{name}_se"]], fmt="s", color=f"C{at}")
    axes[0].set(xlabel="lag (ps)", ylabel="mean squared displacement (Å²)")
    axes[0].legend(fontsize=7)
    for ax, name in zip(axes[1:], names, strict=True):
        labels = [row["model"].replace(" kcal/mol", "") for row in rows]
        ax.set_xticks(range(len(rows)), labels, rotation=30, fontsize=7)
        ax.set(title=name, xlim=(-0.5, len(rows) - 0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", default="cazrs3-h", help="of benchmarks/truth.py")
    parser.add_argument("--resume", type=Path, help="folder of its runs")
    parser.add_argument("--models", help="folder with the MACE files of the molecules")
    parser.add_argument("--runs", type=int, default=5, help="production runs of each model")
    parser.add_argument("--equilibration", type=int, default=500, help="MD steps of each run")
    parser.add_argument("--steps", type=int, default=2000, help="NVE steps of each run")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    if args.resume is None:
        parser.error("--resume is the folder of runs that benchmarks/truth.py was given")
    if args.quick:
        args.case, args.runs, args.equilibration, args.steps = "toy", 2, 10, 20
    logging.getLogger("onfly").setLevel(logging.ERROR)
    case = CASES[args.case]
    teacher = Teacher(model_path(case.teacher, args.models))
    student = Teacher(model_path(case.student, args.models))
    makers = {"foundation": student.calculator, **tuned(args.resume.absolute(), case)}
    makers["teacher"] = teacher.calculator
    report = Report("production", {k: str(v) for k, v in vars(args).items()})
    curves: dict[str, list[np.ndarray]] = {}
    symbol = "H" if "H" in case.atoms(0).symbols else None
    for name, make in makers.items():
        runs = []
        for number in range(args.runs):
            file = f"{name}-{args.seed}-{number}-{args.equilibration}-{args.steps}.npz"
            path = args.resume / "production" / case.name / file.replace(" ", "").replace("/", "")
            frames, drift = trajectory(make, case, number, args, path)
            curve = msd(frames, symbol)
            curves.setdefault(name, []).append(curve)
            runs.append(observables(frames, case, curve) | {"drift": drift})
        report.rows.append(mean_row(name, runs))
    for row in report.rows:
        for key in report.rows[-1]["runs"][0]:
            own, truth = ([run[key] for run in r["runs"]] for r in (row, report.rows[-1]))
            if key != "drift" and row is not report.rows[-1]:
                row[f"{key}_p"] = float(
                    ttest_ind(own, truth, equal_var=False, nan_policy="omit")[1]
                )
        print(json.dumps({k: v for k, v in row.items() if k != "runs"}), flush=True)
    if args.figure:
        draw(curves, report.rows, case, args.figure)
    if args.json:
        report.write(args.json)


def mean_row(name: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    """Return the means over production runs, with their standard errors."""
    row: dict[str, Any] = {"model": name, "runs": runs}
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        known = values[np.isfinite(values)]
        row[key] = float(known.mean()) if len(known) else None
        row[f"{key}_se"] = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else 0.0
    return row


if __name__ == "__main__":
    main()
