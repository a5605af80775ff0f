"""Which posterior is honest at which price: coverage, z, log-likelihood and AUC at equal CPU.

    python benchmarks/posteriors.py --foundation MACE_SPICE.model --data ethanol_b3lyp.extxyz
    python benchmarks/posteriors.py --foundation chgnet-0.3.0 --data silicon.extxyz \
        --system silicon --periodic --n-atoms 64 --threshold 5 --settings map-50 sghmc-50

Random labels of the file arrive in portions, each learned in one update that goes on from the one
before, as in a run; the first label sets the energy offset. After the last portion unseen
configurations of the file are predicted. Each set of chains is judged several times: by the
disagreement of its members, by the Gaussian over the last layer (with the scale fitted to forces
before they are learned, and with scale 1), and by both. Subsets of the members cost their share of
the CPU of all updates.

The baseline is a constant standard deviation on the same errors (the best that a posterior without
any ranking could do); the floor of z is 1. Finished chains are kept under ``--folder``, so an
interrupted study goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
import torch
from common import Report, arguments
from scipy.stats import spearmanr

from onfly.analysis.metrics import auc_roc, mean_log_likelihood, rmse
from onfly.bayes.calibration import Calibration
from onfly.bayes.heads import without_head
from onfly.bayes.last_layer import LastLayerPosterior
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState
from onfly.learning.target import potential_target
from onfly.potentials import load_foundation
from onfly.potentials.stacked import EnsembleEvaluator
from onfly.seeds import numpy_stream
from onfly.units import EV_PER_KCAL_MOL

KCAL = EV_PER_KCAL_MOL
# The paper's preconditioner and heads, with which chains are sampled, or only fitted.
PAPER = {"optimizer": "sghmc", "beta": 0.999, "eps": 1e-4, "learn_force_std": True}
MAP = PAPER | {"burn_in": 1.0}  # without noise
NOISY = PAPER | {"burn_in": 0.2, "ramp": 0.05}

# Chains of each setting; what is not given is the default of `LastLayerPosterior`, a fit by Adam.
SETTINGS: dict[str, dict] = {
    "fit-50": {"n_members": 2, "n_steps": 50},
    "fit-100": {"n_members": 2, "n_steps": 100},
    "fit-200": {"n_members": 2, "n_steps": 200},
    "fit-500": {"n_members": 2, "n_steps": 500},
    "fit-100-step-3e-4": {"n_members": 1, "n_steps": 100, "step_size": 3e-4},
    "fit-100-step-1e-3": {"n_members": 1, "n_steps": 100, "step_size": 1e-3},
    "fit-100-step-3e-3": {"n_members": 1, "n_steps": 100, "step_size": 3e-3},
    "fit-100-step-1e-2": {"n_members": 1, "n_steps": 100, "step_size": 1e-2},
    "fit-100-heads": {"n_members": 1, "n_steps": 100, "learn_force_std": True},
    "map-50": {**MAP, "n_members": 2, "n_steps": 50},
    "map-100": {**MAP, "n_members": 2, "n_steps": 100},
    "map-200": {**MAP, "n_members": 2, "n_steps": 200},
    "map-500": {**MAP, "n_members": 2, "n_steps": 500},
    "map-adaptive": {**MAP, "n_members": 2, "n_steps": 1000, "min_steps": 100},
    "map-sigma-0.1": {**MAP, "n_members": 1, "n_steps": 200, "prior_std": 0.1},
    "map-sigma-0.02": {**MAP, "n_members": 1, "n_steps": 200, "prior_std": 0.02},
    "map-step-3e-4": {**MAP, "n_members": 1, "n_steps": 200, "step_size": 3e-4},
    "map-step-3e-3": {**MAP, "n_members": 1, "n_steps": 200, "step_size": 3e-3},
    "map-100-sigma-0.1": {**MAP, "n_members": 1, "n_steps": 100, "prior_std": 0.1},
    "map-100-sigma-0.02": {**MAP, "n_members": 1, "n_steps": 100, "prior_std": 0.02},
    "map-100-step-3e-5": {**MAP, "n_members": 1, "n_steps": 100, "step_size": 3e-5},
    "map-100-step-1e-4": {**MAP, "n_members": 1, "n_steps": 100, "step_size": 1e-4},
    "map-100-step-3e-4": {**MAP, "n_members": 1, "n_steps": 100, "step_size": 3e-4},
    "map-100-step-1e-3": {**MAP, "n_members": 1, "n_steps": 100, "step_size": 1e-3},
    "map-100-step-3e-3": {**MAP, "n_members": 1, "n_steps": 100, "step_size": 3e-3},
    "map-rows-2": {**MAP, "n_members": 1, "n_steps": 200, "force_rows": 2},
    "map-energies": {**MAP, "n_members": 1, "n_steps": 200, "force_rows": 0},
    "sghmc-50": {"n_members": 4, "n_steps": 50, **NOISY},
    "sghmc-100": {"n_members": 8, "n_steps": 100, **NOISY},
    "sghmc-200": {"n_members": 4, "n_steps": 200, **NOISY},
    "sghmc-400": {"n_members": 4, "n_steps": 400, **NOISY},
    "sghmc-1000": {"n_members": 4, "n_steps": 1000, **NOISY},
    "sghmc-2000": {"n_members": 4, "n_steps": 2000, **NOISY},
    "adaptive": {"n_members": 4, "n_steps": 1000, "min_steps": 50, **NOISY},
    "burn-in-0.5": {"n_members": 4, "n_steps": 200, **NOISY, "burn_in": 0.5},
    "sigma-0.1": {"n_members": 4, "n_steps": 200, "prior_std": 0.1, **NOISY},
    "sigma-1": {"n_members": 4, "n_steps": 200, "prior_std": 1.0, **NOISY},
    "step-3e-4": {"n_members": 4, "n_steps": 200, "step_size": 3e-4, **NOISY},
    "step-3e-3": {"n_members": 4, "n_steps": 200, "step_size": 3e-3, **NOISY},
    "batch-1": {"n_members": 4, "n_steps": 400, "batch_size": 1, **NOISY},
}


def configurations(path: Path, n_atoms: int | None, periodic: bool):
    """Read configurations with energies and forces, all of one size."""
    frames = []
    for atoms in ase.io.read(path, ":"):
        if n_atoms is None or len(atoms) == n_atoms:
            energy, forces = atoms.get_potential_energy(), np.array(atoms.get_forces())
            plain = atoms.copy()
            plain.calc, plain.pbc, plain.info = None, periodic, {}
            frames.append((plain, float(energy), forces))
    return frames


class Study:
    """Labels, unseen configurations and the foundation, for one seed."""

    def __init__(self, args, seed: int) -> None:
        frames = configurations(args.data, args.n_atoms, args.periodic)
        order = numpy_stream("posteriors", args.system, seed).permutation(len(frames))
        self.sizes = sorted(args.sizes)
        self.train = train = [frames[i] for i in order[: self.sizes[-1]]]
        self.test = [frames[i] for i in order[self.sizes[-1] :][: args.n_test]]
        self.elements = tuple(sorted(set(train[0][0].get_chemical_symbols())))
        self.potential = load_foundation(args.foundation, elements=self.elements)
        self.threshold = args.threshold * KCAL
        self.scales = LikelihoodScales(energy_std=0.1 * self.threshold)
        self.key = ("posteriors", args.system, seed)
        self.foundation, self.folder, self.workers = args.foundation, args.folder, args.workers
        weights = self.potential.parameters()
        self.offset = float(self.energies([weights], train[:1])[0][0, 0]) - train[0][1]
        self.labels = np.array([f[1] for f in self.test])
        self.forces = np.concatenate([f[2] for f in self.test])

    def factory(self, size: int):
        """Return what makes the target of the first labels, in any process."""
        train = self.train[:size]
        return partial(
            potential_target,
            self.foundation,
            [f[0] for f in train],
            [f[1] + self.offset for f in train],
            [f[2] for f in train],
            None,
            self.scales,
            elements=self.elements,
        )

    def energies(self, members, frames):
        """Return energies (M, B), summed features (M, B, F) and mean forces (N, 3)."""
        stacked = getattr(self.potential, "can_stack", False) and len(members) > 1
        evaluator = EnsembleEvaluator(
            self.potential, members, "stacked" if stacked else "sequential"
        )
        energies, features, forces = [], [], []
        for i in range(0, len(frames), 10):
            chunk = frames[i : i + 10]
            batch = self.potential.collate([self.potential.graph(f[0]) for f in chunk])
            found = evaluator.evaluate(batch, mean=True)
            energies.append(found.energy.double())
            zero = torch.zeros(len(members), len(chunk), found.features.shape[-1]).double()
            features.append(zero.index_add(1, batch.owner, found.features.double()))
            forces.append(found.forces[0].double().numpy())
        return torch.cat(energies, 1), torch.cat(features, 1), np.concatenate(forces)

    def run(self, name: str):
        """Run the chains of a setting, and yield a row for each judge and number of members."""
        posterior = LastLayerPosterior(**SETTINGS[name])
        folder = self.folder / f"{'-'.join(map(str, self.key))}-{name}"
        state, traces = posterior.initial(self.potential, self.key), []
        chains = gaussian = 0.0
        seen = 0
        for generation, size in enumerate(self.sizes, 1):
            start = time.process_time()
            state, info = posterior.update(
                state,
                self.factory(size),
                seed_key=self.key,
                generation=generation,
                n_new=size - seen,
                n_workers=self.workers,
                cache_dir=folder,
            )
            # of this process: with workers, or chains from the cache, all but the chains
            here = time.process_time() - start
            inside = info.cpu_seconds if self.workers == 1 and not info.n_reused else 0.0
            gaussian += here - inside
            chains += info.cpu_seconds
            traces, seen = list(info.traces), size
        weights = [without_head(member) for member in state.members]
        energies, features, forces = self.energies(weights, self.test)
        n, factor, fitted = len(weights), state.extra["factor"], state.extra["scale"]
        for k in [k for k in (1, 2, 4, 8) if k <= n]:
            members = state.members[:k]
            part = PosteriorState("last_layer", members, {"factor": factor[:k], "scale": fitted})
            mean, total = posterior.energy_moments(part, energies[:k], features[:k])
            _, spread = posterior.energy_moments(
                PosteriorState("last_layer", members), energies[:k]
            )
            own = total - spread
            judges = {"gaussian": own, "gaussian, s=1": own / fitted**2}
            if k > 1:
                judges |= {"members": spread, "both": total}
            errors = mean.numpy() - self.offset - self.labels
            for judge, variance in judges.items():
                std = np.sqrt(variance.clamp_min(0).numpy() + self.scales.energy_std**2)
                yield {
                    "setting": name,
                    "judge": judge,
                    "members": k,
                    "steps": int(np.median([trace["step"][-1] + 1 for trace in traces])),
                    "cpu_s": (chains + (0.0 if judge == "members" else gaussian)) * k / n,
                    "scale": None if judge == "members" else float(fitted),
                    **self.figures(errors, std),
                    "force_rmse": rmse((forces - self.forces).ravel()) / KCAL if k == n else None,
                }

    def figures(self, errors, std):
        """Return the figures of one posterior; energies in kcal/mol."""
        z = float(np.sqrt(np.mean((errors / std) ** 2)))
        k = self.threshold
        row = {
            "rmse": rmse(errors) / KCAL,
            "std": float(np.median(std)) / KCAL,
            "z": z,
            "spearman": float(spearmanr(np.abs(errors), std).statistic),
            "auc_half": _auc(errors, std, 0.5 * k),
            "auc": _auc(errors, std, k),
            # after one global rescaling of the std, against the best constant std
            "mll_gain": mean_log_likelihood(errors, std * z)
            - mean_log_likelihood(errors, np.full(len(errors), rmse(errors))),
            "within": float((np.abs(errors) <= k).mean()),
        }
        return row | self.audited(errors, std)

    def audited(self, errors, std, n_audits: int = 10, n_draws: int = 40):
        """Calibrate by random audits, and let the criterion judge all other configurations."""
        rng = numpy_stream("posteriors", "audits")
        defaults = self.potential.defaults
        covered, passed, good = [], [], []
        for _ in range(n_draws):
            order = rng.permutation(len(errors))
            calibration = Calibration(defaults.shape, defaults.rate, surprise=0.02)
            for i in order[:n_audits]:
                calibration = calibration.update(errors[i], std[i])
            rest = order[n_audits:]
            half = np.array([calibration.interval(std[i]) for i in rest])
            covered.append(np.mean(np.abs(errors[rest]) <= half))
            ok = np.array([calibration.exceedance(std[i], self.threshold) <= 0.05 for i in rest])
            passed.append(ok.mean())
            good.append((int((np.abs(errors[rest][ok]) <= self.threshold).sum()), int(ok.sum())))
        n_good, n_ok = np.sum(good, axis=0)
        return {
            "coverage": float(np.mean(covered)),
            "passed": float(np.mean(passed)),
            "passed_within": n_good / n_ok if n_ok else None,
        }


def _auc(errors, std, threshold):
    large = np.abs(errors) > threshold
    return auc_roc(errors, std, threshold) if large.any() and not large.all() else None


def plot(report: Report, path: Path) -> None:
    """Draw AUC, z and coverage against CPU, one colour for each judge."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8))
    marks = {
        "members": ("o", "#1f6fb4"),
        "gaussian, s=1": ("s", "#e8b07a"),
        "gaussian": ("s", "#d2691e"),
        "both": ("^", "#3a8a3a"),
    }
    for axis, (quantity, label) in zip(
        axes,
        [
            ("auc_half", "AUC (error > K/2)"),
            ("z", "z before calibration"),
            ("coverage", "coverage of 95 % intervals, 10 audits"),
        ],
        strict=True,
    ):
        for judge, (mark, colour) in marks.items():
            rows = [r for r in report.rows if r.get("judge") == judge and r.get(quantity)]
            axis.scatter(
                [r["cpu_s"] for r in rows],
                [r[quantity] for r in rows],
                marker=mark,
                c=colour,
                s=22,
                label=judge,
            )
        axis.set_xlabel("CPU s of all updates")
        axis.set_ylabel(label)
    axes[1].set_yscale("log")
    for axis in axes:
        axis.set_xlim(left=0.0)
    axes[1].axhline(1.0, color="black", lw=0.8)
    axes[0].axhline(0.5, color="black", lw=0.8)
    axes[2].axhline(0.95, color="black", lw=0.8)
    axes[0].legend(framealpha=1.0)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run the study."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--foundation", default="chgnet-0.3.0", help="name or model file")
    parser.add_argument("--data", type=Path, help="extxyz: eV, eV/Å")
    parser.add_argument("--system", default="ethanol", help="names the random streams")
    parser.add_argument("--periodic", action="store_true")
    parser.add_argument("--n-atoms", type=int, help="only configurations of this size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 7, 10])
    parser.add_argument("--n-test", type=int, default=150)
    parser.add_argument("--threshold", type=float, default=1.0, help="K in kcal/mol")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of --seed")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("posteriors-run"))
    parser.add_argument("--plot", type=Path, help="PNG of the rows")
    parser.add_argument("--rows", type=Path, nargs="+", help="JSON files to draw, run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.data is None and args.rows is None:
        parser.error("give --data FILE, or --rows FILES of earlier runs")
    if args.quick:
        args.settings, args.sizes, args.n_test = ["map-100"], [1, 2], 30
        SETTINGS["map-100"] = {"n_members": 2, "n_steps": 20}
    report = Report("posteriors", {k: str(v) for k, v in vars(args).items()})
    for file in args.rows or []:
        report.rows += json.loads(file.read_text())["rows"]
    for seed in [] if args.rows else args.seeds or [args.seed]:
        study = Study(args, seed)
        found, _, forces = study.energies([study.potential.parameters()], study.test)
        errors = found[0].numpy() - study.offset - study.labels
        report.add(
            seed=seed,
            setting="foundation",
            rmse=rmse(errors) / KCAL,
            force_rmse=rmse((forces - study.forces).ravel()) / KCAL,
            within=float((np.abs(errors) <= study.threshold).mean()),
            cpu_s=0.0,
        )
        for name in args.settings:
            for row in study.run(name):
                report.add(seed=seed, **row)
    report.finish(None if args.rows else args.json)
    if args.plot is not None:
        plot(report, args.plot)


if __name__ == "__main__":
    main()
