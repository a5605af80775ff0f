"""Transfer learning against the same network without pretraining (paper, figures 3, 7, 8 and 9).

    python benchmarks/transfer.py --data DATA --seeds 3 --json transfer.json --figure transfer.png
    python benchmarks/transfer.py --cases --file aspirin=rmd17_aspirin.extxyz --foundation M.model
    python benchmarks/transfer.py --rows transfer.json --figure transfer.png

Nested random labels, learned in one update for each size, and test configurations that were not
learned. The first label sets the energy offset. Arms: ``tuned`` is the default posterior on the
pretrained MACE, ``untrained`` the same on the same architecture with random weights (prior N(0, 1),
as e3nn draws them), more steps and a larger step size; ``sghmc`` is the paper's sampler on the
pretrained weights, with fewer and shorter chains.

MLL is the mean log-likelihood of the energy errors, in units of K: *raw* of the Gaussian with the
predicted std, *calibrated* of the Student-t after ten other errors (mean of draws), *constant* of
the best single std, the floor of a ranking. AUC: does the std tell errors above K from others?
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms
from common import Report, arguments
from forces import Case, Learner, cases, read, split
from scipy.stats import spearmanr

from onfly.analysis.metrics import (
    auc_roc,
    mean_log_likelihood,
    mll_by_error_interval,
    rmse,
)
from onfly.bayes import Calibration
from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.potentials.mace_conversion import write_converted
from onfly.potentials.mace_loading import read_model
from onfly.potentials.mace_package import environment_kept
from onfly.seeds import numpy_stream
from onfly.units import EV_PER_KCAL_MOL

N_AUDITS = 10
N_DRAWS = 20
EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, np.inf)  # of |error| / K


@dataclass(frozen=True)
class Arm:
    """One way to learn: a posterior, and whether it starts from pretrained weights."""

    posterior: dict[str, Any]
    pretrained: bool = True


@dataclass
class Errors:
    """Energy errors of test configurations and their std (eV), and errors of forces (eV/Å)."""

    energy: np.ndarray
    std: np.ndarray
    forces: np.ndarray = field(repr=False)


def arms(args: Any) -> dict[str, Arm]:
    """Return the arms by name."""
    n_members, n_steps = args.sghmc
    untrained = {
        "kind": "last_layer",
        "n_steps": args.untrained_steps,
        "step_size": args.untrained_step_size,
        "prior_std": 1.0,
    }
    found = {
        "tuned": Arm({"kind": "last_layer"}),
        "untrained": Arm(untrained, pretrained=False),
        "sghmc": Arm({"kind": "sghmc", "n_members": n_members, "n_steps": n_steps}),
    }
    if args.quick:
        found = {
            name: replace(arm, posterior=arm.posterior | {"n_steps": 10})
            for name, arm in found.items()
        }
    return {name: found[name] for name in args.arms}


def untrained(source: str, seed: int, folder: Path) -> str:
    """Write the architecture of a MACE model with random weights, and return the file's path.

    Energies of isolated atoms, scale and shift stay: they are constants of the data.
    """
    module, _ = read_model(Path(source))
    with environment_kept():
        from mace.tools.scripts_utils import extract_config_mace_model
    config = extract_config_mace_model(module)
    # a model is built in the default dtype
    before = torch.get_default_dtype()
    torch.set_default_dtype(next(module.parameters()).dtype)
    torch.manual_seed(seed + 1)
    try:
        fresh = type(module)(**config)
    finally:
        torch.set_default_dtype(before)
    path = folder / f"untrained-{seed}.safetensors"
    write_converted(fresh, path, Path(source).name, "0" * 64)
    return str(path)


def own_cases(args: Any) -> Iterator[Case]:
    """Yield the sets that were given as files, split at random."""
    for given in args.file:
        name, _, path = given.partition("=")
        frames = read(Path(path))
        rng = numpy_stream("forces", name, args.seed)
        train, tests = split(frames, min(max(args.sizes), len(frames) // 2), rng)
        chosen = tests[""][: args.n_test]
        yield Case(name, args.foundation, train, {"": chosen}, EV_PER_KCAL_MOL, tuple(args.sizes))


def errors_of(learner: Learner, frames: Sequence[Atoms]) -> Errors:
    """Return the errors of configurations with labels."""
    predictor = Predictor(
        learner.potential, learner.posterior, learner.state, learner.scales, "sequential"
    )
    energy, std, forces = [], [], []
    for atoms in frames:
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        found = predictor.predict(plain, stress=False)
        energy.append(found.energy - learner.offset - atoms.get_potential_energy())
        std.append(found.energy_std)
        forces.append((found.forces - atoms.get_forces()).ravel())
    return Errors(np.array(energy), np.array(std), np.concatenate(forces))


def calibrated(found: Errors, threshold: float) -> tuple[float, list[tuple[int, float]]]:
    """Return the MLL after audits have calibrated the std, over all and by size of the error."""
    rng = numpy_stream("transfer", "audits")
    parts: list[list[tuple[int, float]]] = []
    for _ in range(N_DRAWS):
        order = rng.permutation(len(found.energy))
        audits, rest = np.split(order, [min(N_AUDITS, len(order) // 2)])
        calibration = Calibration()
        for i in audits:
            calibration = calibration.update(found.energy[i], found.std[i])
        scale = found.std[rest] * calibration.scale_factor / threshold
        intervals = mll_by_error_interval(
            found.energy[rest] / threshold, scale, EDGES, calibration.dof
        )
        parts.append([(part.n, part.mean) for part in intervals])
    counts = np.array([[n for n, _ in part] for part in parts], dtype=float)
    means = np.nan_to_num([[mean for _, mean in part] for part in parts])
    total = (counts * means).sum(0)
    by_size = [
        (round(n / N_DRAWS), float(s / n) if n else float("nan"))
        for n, s in zip(counts.sum(0), total, strict=True)
    ]
    return float(total.sum() / counts.sum()), by_size


def figures(found: Errors, threshold: float) -> dict[str, Any]:
    """Return what is reported of a test set; energies in kcal/mol, MLL per K."""
    size, large = np.abs(found.energy), np.abs(found.energy) > threshold
    mll, by_size = calibrated(found, threshold)
    unit = found.energy / threshold, found.std / threshold
    same = np.full(len(size), rmse(found.energy) / threshold)
    flat = np.ptp(found.std) == 0
    return {
        "energy_rmse": rmse(found.energy) / EV_PER_KCAL_MOL,
        "force_rmse": rmse(found.forces) / EV_PER_KCAL_MOL,
        "within": float(1 - large.mean()),
        "z": float(np.sqrt(np.mean((found.energy / found.std) ** 2))),
        "rank": 0.0 if flat else float(spearmanr(size, found.std).statistic),
        "auc": None
        if flat or large.all() or not large.any()
        else auc_roc(found.energy, found.std, threshold),
        "mll_raw": mean_log_likelihood(*unit),
        "mll_calibrated": mll,
        "mll_constant": mean_log_likelihood(unit[0], same),
        "by_size": by_size,
    }


def study(report: Report, case: Case, name: str, arm: Arm, args: Any) -> None:
    """Let one arm learn the labels of a case, size by size."""
    learner = Learner(
        case, args.seed, study="transfer", posterior=posterior_from_dict(arm.posterior)
    )
    for size in (0, *case.sizes):
        if size:
            learner.learn(size)
        for key, frames in case.tests.items():
            report.add(
                case=f"{case.name} {key}".strip(),
                seed=args.seed,
                arm=name,
                labels=size,
                **figures(errors_of(learner, frames), case.threshold),
                cpu_s=learner.cpu["update"],
            )
    report.finish(args.json)  # so that a run that is cut short leaves its figures


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw errors, MLL and AUC over labels, and MLL by size of the error, a row for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = {
        "energy_rmse": "energy RMSE, kcal/mol",
        "force_rmse": "force RMSE, kcal/mol/Å",
        "mll_calibrated": "MLL per K, calibrated",
        "auc": "AUC, |error| > K",
    }
    names = list(dict.fromkeys(row["case"] for row in rows))
    shape = (len(names), len(columns) + 1)
    figure, axes = plt.subplots(
        *shape, figsize=(3.4 * shape[1], 2.9 * shape[0]), squeeze=False, layout="constrained"
    )
    colours = {"tuned": "#1f6fb4", "untrained": "#d2691e", "sghmc": "#3a8a3a"}
    for line, name in zip(axes, names, strict=True):
        for arm, colour in colours.items():
            own = [row for row in rows if (row["case"], row["arm"]) == (name, arm)]
            for axis, key in zip(line, columns, strict=False):
                _curve(axis, own, key, colour, arm)
            _bars(line[-1], own, colour, arm)
        line[0].set_ylabel(f"{name}\n{columns['energy_rmse']}")
        for axis, label in zip(line[1:], list(columns.values())[1:], strict=False):
            axis.set_ylabel(label)
        for axis in line[:-1]:
            axis.set_xscale("log")
            axis.set_xlabel("labels")
        for axis in line[:2]:
            axis.set_yscale("log")
        line[3].axhline(0.5, color="black", lw=0.8)
        line[-1].set_xlabel("|error| / K")
        line[-1].set_ylabel("MLL per K, most labels")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(axis: Any, rows: Sequence[dict[str, Any]], key: str, colour: str, arm: str) -> None:
    """Draw the mean over the seeds, and each seed as a point."""
    known = [row for row in rows if row["labels"] and row[key] is not None]
    sizes = sorted({row["labels"] for row in known})
    values = [[row[key] for row in known if row["labels"] == size] for size in sizes]
    axis.plot(sizes, [np.mean(v) for v in values], color=colour, label=arm)
    for size, found in zip(sizes, values, strict=True):
        axis.plot([size] * len(found), found, ".", color=colour, ms=4)


def _bars(axis: Any, rows: Sequence[dict[str, Any]], colour: str, arm: str) -> None:
    """Draw the MLL in intervals of the error, of the runs with most labels."""
    most = max((row["labels"] for row in rows), default=0)
    last = [row["by_size"] for row in rows if row["labels"] == most and most]
    if not last:
        return
    counts = np.array([[n for n, _ in row] for row in last], dtype=float)
    means = np.nan_to_num([[m for _, m in row] for row in last])
    total = counts.sum(0)
    mean = np.divide(
        (counts * means).sum(0), total, out=np.full(len(total), np.nan), where=total > 0
    )
    axis.plot(range(len(mean)), mean, "o-", color=colour, label=arm)
    texts = [f"{a:g}–{b:g}" for a, b in pairwise(EDGES)]
    axis.set_xticks(range(len(mean)), [t.replace("–inf", "+") for t in texts], fontsize=8)


def main() -> None:
    """Run the study, or draw what is there."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the data sets of forces.py")
    parser.add_argument("--models", type=Path, help="folder with the MACE file of these sets")
    parser.add_argument("--cases", nargs="*", choices=["acac", "ethanol"], default=None)
    parser.add_argument("--file", action="append", default=[], help="NAME=FILE.extxyz, eV and eV/Å")
    parser.add_argument("--foundation", help="MACE file for the sets of --file")
    parser.add_argument("--arms", nargs="+", default=["tuned", "untrained", "sghmc"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 25, 50, 100])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-test", type=int, default=100)
    parser.add_argument("--untrained-steps", type=int, default=2000)
    parser.add_argument("--untrained-step-size", type=float, default=1e-2)
    parser.add_argument("--sghmc", type=int, nargs=2, default=[4, 500], metavar=("CHAINS", "STEPS"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--rows", type=Path, nargs="+", help="draw these JSON files, run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.rows is None and args.data is None and not args.file:
        parser.error("give --data DIR or --file NAME=FILE, or --rows FILES of earlier runs")
    if args.file and args.foundation is None:
        parser.error("--file needs --foundation FILE")
    if args.cases is None:
        args.cases = [] if args.data is None else ["acac", "ethanol"]
    args.models = args.models or (None if args.data is None else args.data / "models")
    if args.quick:
        args.sizes, args.n_test, args.sghmc = [2, 4], 20, [2, 10]
    report = Report("transfer", {k: str(v) for k, v in vars(args).items()})
    for file in args.rows or []:
        report.rows += json.loads(file.read_text())["rows"]
    start = time.monotonic()
    seeds = range(args.seed, args.seed + (0 if args.rows else args.seeds))
    for args.seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            published = cases(args) if args.cases else []
            for case in (*published, *own_cases(args)):
                for name, arm in arms(args).items():
                    source = case.foundation
                    if not arm.pretrained:
                        source = untrained(source, args.seed, Path(folder))
                    study(report, replace(case, foundation=source), name, arm, args)
    if args.figure is not None:
        draw(report.rows, args.figure)
    print(f"{time.monotonic() - start:.0f} s of wall time")


if __name__ == "__main__":
    main()
