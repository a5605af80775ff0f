"""Errors of forces and what their error bars are worth, after 5, 10, 20 and 50 labels.

    python benchmarks/forces.py --data DATA --models MODELS --json forces.json

Cases: ethanol (B3LYP, configurations far from equilibrium), acetylacetone (PBE-D3, trained on MD at
300 K, tested on MD at 300 K and at 600 K) and silicon (PBE, 64 atoms, strained cells and MD); DATA
is a folder with `qm22_ethanol_b3lyp`, `acac` and `mlearn_Si`, MODELS holds the MACE file for the
molecules. Labels are random ones of the training set and arrive in portions, each learned in one
update that goes on from the one before.

Judges of the same errors: ``rows`` is the default (the Gaussian by all force rows, and what the fit
left of a species), ``8 directions`` the same Gaussian by eight random directions of each label,
``constant`` what the fit left of all forces, one number for all atoms. z is the RMS of error over
std, before and after `ForceCalibration` saw ten other configurations (mean of draws); rank is
Spearman's correlation of an atom's std and the length of its error, AUC that of atoms whose error
is longer than the threshold. Floors: z = 1, rank and AUC of a constant: 0 and 0.5.

``--mace`` also fine-tunes by `mace_run_train` on the same labels (molecules only).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from common import Report, arguments, cpu_timer
from scipy.stats import spearmanr

from onfly.analysis.metrics import auc_roc, rmse
from onfly.bayes import (
    ForceCalibration,
    LastLayerPosterior,
    LikelihoodScales,
    MemberForces,
    Posterior,
    PosteriorState,
)
from onfly.bayes.force_calibration import intraclass_correlation
from onfly.bayes.last_layer_rows import RowNoise, gram
from onfly.learning import potential_target
from onfly.learning.slopes import feature_slopes
from onfly.potentials import Potential, load_foundation
from onfly.seeds import numpy_stream
from onfly.units import EV_PER_KCAL_MOL

N_AUDITS = 10
N_DRAWS = 20


@dataclass(frozen=True)
class Case:
    """Training and test configurations of one system, with the foundation that learns them."""

    name: str
    foundation: str
    train: list[Atoms]
    tests: dict[str, list[Atoms]]
    threshold: float  # of the energy, eV
    sizes: tuple[int, ...]


def read(path: Path, n_atoms: int | None = None, periodic: bool = False) -> list[Atoms]:
    """Read configurations with energies (eV) and forces (eV/Å), as results or as plain arrays."""
    frames = []
    for atoms in ase.io.read(path, ":"):
        if n_atoms is not None and len(atoms) != n_atoms:
            continue
        results = {} if atoms.calc is None else atoms.calc.results
        energy = results.get("energy", atoms.info.get("energy"))
        forces = results.get("forces", atoms.arrays.get("forces"))
        plain = Atoms(atoms.numbers, atoms.positions, pbc=periodic)
        if periodic:
            plain.cell = atoms.cell
        plain.calc = SinglePointCalculator(plain, energy=float(energy), forces=np.array(forces))
        frames.append(plain)
    return frames


def cases(args) -> list[Case]:
    """Return the cases that were asked for."""
    spice = str(args.models / "MACE_SPICE_converted.model")
    kcal = EV_PER_KCAL_MOL
    found = []
    for name in args.cases:
        rng = numpy_stream("forces", name, args.seed)
        if name == "acac":
            folder = args.data / "acac"
            train = read(folder / "train_300K.extxyz")
            tests = {f"{t} K": read(folder / f"test_MD_{t}K.extxyz") for t in (300, 600)}
            foundation, threshold = spice, kcal
        elif name == "ethanol":
            frames = read(args.data / "qm22_ethanol_b3lyp" / "all_every5.extxyz")
            train, tests = split(frames, 500, rng)
            foundation, threshold = spice, kcal
        else:
            frames = read(args.data / "mlearn_Si" / "training.extxyz", 64, periodic=True)
            train, tests = split(frames, 60, rng)
            foundation, threshold = "chgnet-0.3.0", 30.0 * kcal
        train = [train[i] for i in rng.permutation(len(train))]
        tests = {
            key: [frames[i] for i in rng.permutation(len(frames))[: args.n_test]]
            for key, frames in tests.items()
        }
        found.append(Case(name, foundation, train, tests, threshold, tuple(args.sizes)))
    return found


def split(frames: list[Atoms], n_train: int, rng) -> tuple[list[Atoms], dict[str, list[Atoms]]]:
    """Return random training configurations, and the others."""
    order = rng.permutation(len(frames))
    return [frames[i] for i in order[:n_train]], {"": [frames[i] for i in order[n_train:]]}


class Learner:
    """A posterior, the default one if none is given, on the labels of a case."""

    def __init__(
        self,
        case: Case,
        seed: int,
        device: str = "cpu",
        *,
        study: str = "forces",
        posterior: Posterior | None = None,
        **settings,
    ) -> None:
        self.case, self.key = case, (study, case.name, seed)
        self.elements = tuple(sorted(set(case.train[0].get_chemical_symbols())))
        self.device = device
        self.potential = load_foundation(case.foundation, elements=self.elements, device=device)
        self.scales = LikelihoodScales.for_threshold(case.threshold, n_atoms=len(case.train[0]))
        self.posterior: Posterior = posterior or LastLayerPosterior(**settings)
        self.state = self.posterior.initial(self.potential, self.key)
        first = self.potential.collate([self.potential.graph(case.train[0])])
        energy = self.potential.evaluate(self.potential.parameters(), first, forces=False).energy
        self.offset = float(energy[0]) - case.train[0].get_potential_energy()
        self.generation, self.n_labels, self.cpu = 0, 0, {"update": 0.0}

    def target(self, frames: Sequence[Atoms]):
        """Return the target of labelled configurations."""
        return potential_target(
            self.case.foundation,
            [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in frames],
            [a.get_potential_energy() + self.offset for a in frames],
            [a.get_forces() for a in frames],
            None,
            self.scales,
            elements=self.elements,
            device=self.device,
        )

    def learn(self, n_labels: int) -> None:
        """Learn the first labels of the training set."""
        self.generation += 1
        self.labels = self.target(self.case.train[:n_labels])
        with cpu_timer(self.cpu, "update"):
            self.state, _ = self.posterior.update(
                self.state,
                lambda: self.labels,
                seed_key=self.key,
                generation=self.generation,
                n_new=n_labels - self.n_labels,
            )
        self.n_labels = n_labels

    def variances(self, target, state: PosteriorState) -> np.ndarray:
        """Return the variances of all force components of a target's configurations, (N, 3)."""
        parts = []
        for i in range(target.n_data):
            batch, labels = target.batch([i])
            weights = self.posterior.slope_weights(state)[0]
            slopes, _ = feature_slopes(self.potential, state.members[0], batch, weights)
            members = MemberForces(
                labels.forces[None],  # of one member: only the variance is used
                torch.zeros(1, target.n_atoms(i), 1),
                target.species(i).to(slopes.device),
                force_slopes=slopes[None],
            )
            parts.append(self.posterior.force_moments(state, members)[1].cpu().numpy())
        return np.concatenate(parts)

    def eight_directions(self) -> PosteriorState:
        """Return the state with the Gaussian of eight random directions of each label."""
        member = self.state.members[0]
        noise = RowNoise.of(self.labels.errors(member), self.scales)
        total = gram(self.labels, member, noise, force_rows=8, seed_key=self.key)
        total += self.posterior.ridge * total.diagonal().mean() * torch.eye(len(total)).to(total)
        extra = self.state.extra | {"factor": torch.linalg.cholesky(total)[None]}
        return PosteriorState(self.state.kind, self.state.members, extra)


def judged(
    errors: np.ndarray, stds: np.ndarray, species: np.ndarray, owner: np.ndarray, args
) -> dict:
    """Return figures of the force errors of a test set; species apart, lengths in eV/Å."""
    length = np.linalg.norm(errors, axis=1)
    size = np.sqrt((stds**2).mean(1))
    constant = np.ptp(size) < 1e-12
    large = length > args.threshold
    row = {
        "rank": 0.0 if constant else float(spearmanr(size, length).statistic),
        "auc": auc_roc(length, size, args.threshold) if 0 < large.sum() < len(large) else None,
        "z": float(np.sqrt(np.mean((errors / stds) ** 2))),
    }
    rng = numpy_stream("forces", "audits")
    n_labels = int(owner.max()) + 1
    kinds = np.unique(species)
    after: dict[int, list[float]] = {int(k): [] for k in kinds}
    covered = []
    for _ in range(N_DRAWS):
        audits = rng.permutation(n_labels)[: min(N_AUDITS, n_labels // 2)]
        calibration = ForceCalibration()
        for i in audits:
            own = owner == i
            calibration = calibration.update(errors[own], stds[own], species[own])
        rest = ~np.isin(owner, audits)
        for kind in kinds:
            chosen = rest & (species == kind)
            z = np.abs(errors[chosen] / stds[chosen])
            after[int(kind)].append(
                float(np.sqrt(np.mean((z / calibration.scale_factor(int(kind))) ** 2)))
            )
            covered.append(float((z <= calibration.interval(int(kind))).mean()))
    for kind in kinds:
        chosen, symbol = species == kind, chemical_symbols[kind]
        row[f"z {symbol}"] = float(np.sqrt(np.mean((errors[chosen] / stds[chosen]) ** 2)))
        row[f"z {symbol} after"] = float(np.mean(after[int(kind)]))
    row["coverage of 95 %"] = float(np.mean(covered))
    row["rho"] = intraclass_correlation(
        [((errors / stds) ** 2)[owner == i] for i in range(n_labels)]
    )
    return row


def evaluate(report: Report, learner: Learner, args) -> None:
    """Add the rows of all tests and judges."""
    case, state = learner.case, learner.state
    eight = learner.eight_directions()
    for key, frames in case.tests.items():
        target = learner.target(frames)
        found = target.errors(state.members[0])
        errors = found.forces.cpu().numpy()
        species = np.concatenate([a.numbers for a in frames])
        owner = np.arange(len(frames)).repeat([len(a) for a in frames])
        left = float(state.extra["noise"][0])
        judges = {
            "rows": np.sqrt(learner.variances(target, state)),
            "8 directions": np.sqrt(learner.variances(target, eight)),
            "constant": np.full_like(errors, left),
        }
        for judge, stds in judges.items():
            report.add(
                case=f"{case.name} {key}".strip(),
                labels=learner.n_labels,
                judge=judge,
                cpu_s=learner.cpu["update"],
                e_rmse_mev=1e3 * rmse(found.energy.cpu().numpy()),
                f_rmse_mev=1e3 * rmse(errors.ravel()),
                f_train_mev=1e3 * left,
                s=float(state.extra["scale"][0]),
                **judged(errors, stds, species, owner, args),
            )


def mace_run_train(report: Report, case: Case, n_labels: int, args) -> None:
    """Fine-tune by mace's own program on the same labels: lr 1e-3, EMA 0.999, clipping 1."""
    record: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        frames = case.train[:n_labels]
        n_valid = max(1, n_labels // 10)
        for name, part in (("train", frames[n_valid:]), ("valid", frames[:n_valid])):
            copies = []
            for atoms in part:
                copy = Atoms(atoms.numbers, atoms.positions)
                copy.info["REF_energy"] = atoms.get_potential_energy()
                copy.arrays["REF_forces"] = atoms.get_forces()
                copies.append(copy)
            ase.io.write(f"{folder}/{name}.xyz", copies, format="extxyz")
        elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
        # isolated atoms such that the foundation agrees with the first label, as the offset does
        learner = Learner(case, args.seed)
        references = {
            z: float(e)
            for z, e in zip(
                elements,
                isolated_atoms(learner.potential, elements, learner.offset / len(case.train[0])),
                strict=True,
            )
        }
        command = mace_command(
            folder, case.foundation, references, min(5, n_labels - n_valid),
            args.mace_epochs, args.seed,
        )  # fmt: skip
        with cpu_timer(record, "cpu"):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        models = sorted(Path(folder).glob("*.model"))
        if done.returncode or not models:
            report.add(case=case.name, labels=n_labels, judge="mace_run_train failed")
            print(done.stderr[-2000:], file=sys.stderr)
            return
        path = next((m for m in models if "compiled" not in m.name), models[0])
        from mace.calculators import MACECalculator

        calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
        for key, tests in case.tests.items():
            energies, forces = [], []
            for atoms in tests:
                plain = Atoms(atoms.numbers, atoms.positions)
                plain.calc = calculator
                energies.append(plain.get_potential_energy() - atoms.get_potential_energy())
                forces.append(plain.get_forces() - atoms.get_forces())
            report.add(
                case=f"{case.name} {key}".strip(),
                labels=n_labels,
                judge="mace_run_train",
                cpu_s=record["cpu"],
                e_rmse_mev=1e3 * rmse(np.array(energies)),
                f_rmse_mev=1e3 * rmse(np.concatenate(forces).ravel()),
            )


def mace_command(
    folder: str | Path, foundation: str, references: dict, batch_size: int, epochs: int, seed: int
) -> list[str]:
    """Return the command that fine-tunes a MACE on ``train.xyz`` and ``valid.xyz`` of a folder."""
    return [
        sys.executable, "-m", "mace.cli.run_train", "--name=fine", f"--work_dir={folder}",
        f"--foundation_model={foundation}", "--multiheads_finetuning=False",
        f"--train_file={folder}/train.xyz", f"--valid_file={folder}/valid.xyz",
        "--energy_key=REF_energy", "--forces_key=REF_forces", f"--E0s={references}",
        "--energy_weight=10", "--forces_weight=10", "--lr=1e-3", "--ema", "--ema_decay=0.999",
        "--clip_grad=1.0", "--weight_decay=0", f"--max_num_epochs={epochs}",
        "--patience=1000", "--eval_interval=20", "--scaling=no_scaling",
        f"--batch_size={batch_size}",
        "--default_dtype=float32", "--device=cpu", f"--seed={seed + 1}",
    ]  # fmt: skip


def isolated_atoms(potential: Potential, elements: list[int], shift: float) -> np.ndarray:
    """Return isolated-atom energies that absorb a shift per atom, in equal parts for all atoms."""
    energies = []
    for z in elements:
        batch = potential.collate([potential.graph(Atoms([z], [[0.0] * 3]))])
        energies.append(float(potential.site_reference(batch.payload)[0]))
    return np.array(energies) - shift


def main() -> None:
    """Run the cases."""
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument(
        "--models", type=Path, help="folder with the MACE file; DATA/models if none"
    )
    parser.add_argument("--cases", nargs="+", default=["acac", "ethanol", "silicon"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--n-test", type=int, default=60)
    parser.add_argument("--n-steps", type=int, default=None, help="of a fit")
    parser.add_argument("--threshold", type=float, default=0.1, help="of an atom's error, eV/Å")
    parser.add_argument("--mace", action="store_true", help="also run mace_run_train")
    parser.add_argument("--mace-epochs", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.models = args.models or args.data / "models"
    settings = {} if args.n_steps is None else {"n_steps": args.n_steps}
    if args.quick:
        args.cases, args.sizes, args.n_test = ["acac"], [3], 10
        settings = {"n_steps": 20}
    report = Report("forces", {k: str(v) for k, v in vars(args).items()})
    start = time.monotonic()
    for case in cases(args):
        learner = Learner(case, args.seed, args.device, **settings)
        for size in case.sizes:
            learner.learn(size)
            evaluate(report, learner, args)
            if args.mace and case.foundation.endswith(".model"):
                mace_run_train(report, case, size, args)
            report.finish(args.json)  # so that a run that is cut short leaves its figures
    print(f"{time.monotonic() - start:.0f} s of wall time")


if __name__ == "__main__":
    main()
