"""Transfer learning on static data: errors and honesty of the posterior over the number of labels.

    python learn.py --data FILE --foundation MODEL [--sizes 10 25 50] [--threshold 1.0]

FILE is extended xyz (energies in eV, forces in eV/Å) or an npz file of MD17 or rMD17 (kcal/mol).
One label more sets the energy offset. Nested random labels are learned, each size starting from
the chains of the size before, and a random test set is predicted. Writes NAME.json, and NAME.png
with the RMSE of energies and forces, the AUC-ROC of "the error exceeds the threshold", and the
log-likelihood by intervals of the error (figure 9 of the paper).
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms

from onfly.analysis.metrics import auc_roc, mean_log_likelihood, mll_by_error_interval, rmse
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.learning.target import potential_target
from onfly.potentials import load_foundation
from onfly.seeds import numpy_stream
from onfly.units import EV_PER_KCAL_MOL as KCAL

EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, np.inf)


def read(path: Path) -> list[tuple[Atoms, float, np.ndarray]]:
    """Return configurations with energy (eV) and forces (eV/Å)."""
    if path.suffix == ".npz":
        data = np.load(path, allow_pickle=False)
        numbers = data["nuclear_charges" if "nuclear_charges" in data else "z"]
        names = ("coords", "energies", "forces") if "coords" in data else ("R", "E", "F")
        positions, energies, forces = (data[name] for name in names)
        return [
            (Atoms(numbers, p), float(np.ravel(e)[0]) * KCAL, np.asarray(f) * KCAL)
            for p, e, f in zip(positions, energies, forces, strict=True)
        ]
    frames = []
    for atoms in ase.io.read(path, ":"):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        # published molecules often carry a meaningless cell with pbc="F F F"
        pbc = atoms.pbc.all()
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if pbc else None, pbc=pbc)
        frames.append((plain, float(energy), np.array(forces)))
    return frames


def learn(arguments, posterior, potential, scales, frames, order):
    """Yield the size and the predictions for the test set, energies and forces, per size."""
    test = [frames[i] for i in order[: arguments.n_test]]
    train = [frames[i] for i in order[arguments.n_test :]]
    atoms0, energy0, _ = train[0]
    batch = potential.collate([potential.graph(atoms0)])
    offset = float(potential.evaluate(potential.parameters(), batch).energy[0]) - energy0
    key = ("static", arguments.seed)
    state = posterior.initial(potential, key)
    elements = tuple(sorted(potential.elements))
    seen = 0
    for generation, size in enumerate([0, *arguments.sizes]):
        if size:
            chosen = train[: size + 1]
            factory = partial(
                potential_target,
                arguments.foundation,
                [a for a, _, _ in chosen],
                [e + offset for _, e, _ in chosen],
                [f for _, _, f in chosen],
                None,
                scales,
                elements=elements,
            )
            state, _ = posterior.update(
                state,
                factory,
                seed_key=key,
                generation=generation,
                n_new=len(chosen) - seen,
                n_workers=arguments.workers,
            )
            seen = len(chosen)
        predictor = Predictor(potential, posterior, state, scales, strategy="sequential")
        errors, stds, forces = [], [], []
        for atoms, energy, reference in test:
            prediction = predictor.predict(atoms, stress=False)
            errors.append(prediction.energy - offset - energy)
            stds.append(prediction.energy_std)
            forces.append(prediction.forces - reference)
        yield size, np.array(errors), np.array(stds), np.concatenate(forces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--foundation", required=True, help="Name or file.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 25, 50, 100])
    parser.add_argument("--n-test", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=1.0, help="kcal/mol")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("static"))
    arguments = parser.parse_args()

    frames = read(arguments.data)
    needed = arguments.n_test + max(arguments.sizes) + 1
    if len(frames) < needed:
        parser.error(f"{arguments.data} has {len(frames)} configurations, {needed} are needed")
    order = numpy_stream("static", arguments.seed).permutation(len(frames))
    elements = sorted({symbol for atoms, _, _ in frames[:20] for symbol in atoms.symbols})
    potential = load_foundation(arguments.foundation, elements=elements)
    posterior = posterior_from_dict(
        {"kind": "sghmc", "n_members": arguments.members, "n_steps": arguments.steps}
    )
    threshold = arguments.threshold * KCAL
    scales = LikelihoodScales(energy_std=0.1 * threshold)
    rows = []
    for size, errors, stds, forces in learn(arguments, posterior, potential, scales, frames, order):
        bias = errors - errors.mean()
        # one factor on all stds, as the calibration would find it
        factor = float(np.sqrt(np.mean((errors / stds) ** 2)))
        rows.append(
            {
                "n_labels": size,
                "energy_rmse_kcal_mol": rmse(errors) / KCAL,
                "energy_rmse_without_mean_kcal_mol": rmse(bias) / KCAL,
                "force_rmse_kcal_mol_A": rmse(forces) / KCAL,
                "mean_log_likelihood": mean_log_likelihood(errors / KCAL, stds / KCAL),
                "mean_log_likelihood_rescaled": mean_log_likelihood(
                    errors / KCAL, factor * stds / KCAL
                ),
                "rms_error_over_std": factor,
                "auc_roc": auc_roc(errors, stds, threshold),
                "by_error": [
                    vars(interval)
                    for interval in mll_by_error_interval(
                        errors / KCAL, factor * stds / KCAL, EDGES
                    )
                ],
            }
        )
        print({k: v for k, v in rows[-1].items() if k != "by_error"}, flush=True)
    draw(rows, arguments)
    arguments.out.with_name(arguments.out.name + ".json").write_text(json.dumps(rows, indent=1))


def draw(rows: list[dict], arguments) -> None:
    """Draw the learning curves."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    learned = rows[1:]
    sizes = [row["n_labels"] for row in learned]
    for axis, key, label in (
        (axes[0, 0], "energy_rmse_kcal_mol", "energy RMSE (kcal/mol)"),
        (axes[0, 1], "force_rmse_kcal_mol_A", "force RMSE (kcal/mol/Å)"),
    ):
        axis.loglog(sizes, [row[key] for row in learned], "o-", label="fine-tuned")
        axis.axhline(rows[0][key], color="0.5", ls="--", label="foundation model")
        axis.set(xlabel="labels", ylabel=label)
        axis.legend()
    axes[1, 0].plot(sizes, [row["auc_roc"] for row in learned], "o-")
    axes[1, 0].axhline(0.5, color="0.5", ls="--")
    name = f"AUC-ROC, |error| > {arguments.threshold:g} kcal/mol"
    axes[1, 0].set(xlabel="labels", ylabel=name, ylim=(0.4, 1.0))
    for row in learned:
        filled = [interval for interval in row["by_error"] if interval["n"]]
        axes[1, 1].plot(
            [f"≥ {i['low']:g}" for i in filled],
            [i["mean"] for i in filled],
            "o-",
            label=f"{row['n_labels']} labels",
        )
    axes[1, 1].set(xlabel="|error| (kcal/mol)", ylabel="mean log-likelihood, rescaled")
    axes[1, 1].legend()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out.with_name(arguments.out.name + ".png"), dpi=150)


if __name__ == "__main__":
    main()
