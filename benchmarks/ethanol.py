"""Ethanol: learning curves on published labels and, with ``--loop``, a whole on-the-fly run.

    python benchmarks/ethanol.py --foundation MACE_SPICE.model --data ethanol_b3lyp.extxyz
    python benchmarks/ethanol.py --foundation MACE_SPICE.model --loop --labeller gfn2-xtb

Learning curves: nested random labels, one update of the posterior per size, each chain starting
from its sample at the size before, as in the loop. The first label sets the energy offset. The
baseline is the unchanged foundation on the same test set; the floor is the error on the labels that
were learned.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
import torch
from common import Report, arguments
from loop import LoopSettings, summary, timed_run

from onfly.analysis.metrics import (
    auc_roc,
    mean_log_likelihood,
    rmse,
    z_scores,
)
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.parallel import ChainPool
from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.stages import MDStage
from onfly.learning.target import potential_target
from onfly.potentials import load_foundation
from onfly.seeds import numpy_stream
from onfly.units import EV_PER_KCAL_MOL

KCAL = EV_PER_KCAL_MOL


def molecules(path: Path):
    """Read configurations with energy (eV) and forces (eV/Å), as molecules."""
    frames = []
    for atoms in ase.io.read(path, ":"):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        plain = atoms.copy()
        plain.calc, plain.pbc, plain.info = None, False, {}
        frames.append((plain, float(energy), np.array(forces)))
    return frames


def test_errors(predictor, frames, offset):
    """Return energy errors, their std and force errors, in eV and eV/Å."""
    errors, std, forces = [], [], []
    for atoms, energy, reference in frames:
        prediction = predictor.predict(atoms, stress=False)
        errors.append(prediction.energy - offset - energy)
        std.append(prediction.energy_std)
        forces.append((prediction.forces - reference).ravel())
    return np.array(errors), np.array(std), np.concatenate(forces)


def figures(errors, std, forces, threshold):
    """Return the figures of one size, in kcal/mol and Å."""
    z = float(np.sqrt(np.mean(z_scores(errors, std) ** 2)))
    scaled = std * z
    within = int((np.abs(errors) <= threshold).sum())
    beyond = (np.abs(errors) > threshold).any() and within > 0
    # what the criterion would let pass once the std has its right scale
    passed = scaled < threshold / 1.96
    good = int((np.abs(errors[passed]) <= threshold).sum())
    return {
        "energy_rmse": rmse(errors) / KCAL,
        "force_rmse": rmse(forces) / KCAL,
        "z": z,
        "mll": mean_log_likelihood(errors / KCAL, std / KCAL),
        "mll_scaled": mean_log_likelihood(errors / KCAL, scaled / KCAL),
        "mll_constant": mean_log_likelihood(
            errors / KCAL, np.full(len(errors), rmse(errors)) / KCAL
        ),
        "auc": auc_roc(errors, std, threshold) if beyond else None,
        "within": within / len(errors),
        "passed": int(passed.sum()),
        "passed_within": good / int(passed.sum()) if passed.any() else None,
    }


def learning_curve(args, report):
    """Learn nested random labels and test on the same unseen configurations."""
    frames = molecules(args.data)
    order = numpy_stream("ethanol", args.seed).permutation(len(frames))
    test = [frames[i] for i in order[-args.n_test :]]
    train = [frames[i] for i in order[: max(args.labels)]]
    elements = tuple(sorted(set(train[0][0].get_chemical_symbols())))
    potential = load_foundation(args.foundation, elements=elements)
    threshold = args.threshold * KCAL
    scales = LikelihoodScales(energy_std=0.1 * threshold)
    posterior = posterior_from_dict(args.posterior)
    key = ("ethanol", args.seed)
    state = posterior.initial(potential, key)

    first = train[0]
    batch = potential.collate([potential.graph(first[0])])
    found = potential.evaluate(potential.parameters(), batch, forces=False)
    offset = float(found.energy[0]) - first[1]

    base = test_errors(Predictor(potential, posterior, state, scales, "sequential"), test, offset)
    baseline = {"energy": rmse(base[0]) / KCAL, "force": rmse(base[2]) / KCAL}
    report.add(labels=0, energy_rmse=baseline["energy"], force_rmse=baseline["force"], cpu_s=0.0)
    cpu, learned = 0.0, 0
    pool = ChainPool(args.workers) if args.workers > 1 else None
    try:
        for generation, n in enumerate(args.labels, start=1):
            chosen = train[:n]
            factory = partial(
                potential_target,
                args.foundation,
                [f[0] for f in chosen],
                [f[1] + offset for f in chosen],
                [f[2] for f in chosen],
                None,
                scales,
                elements=elements,
            )
            state, info = posterior.update(
                state,
                factory,
                seed_key=key,
                generation=generation,
                n_new=n - learned,
                n_workers=args.workers,
                pool=pool,
            )
            learned = n
            cpu += info.cpu_seconds
            predictor = Predictor(potential, posterior, state, scales, "sequential")
            row = figures(*test_errors(predictor, test, offset), threshold)
            own = test_errors(predictor, chosen, offset)
            report.add(
                labels=n,
                **row,
                floor_energy_rmse=rmse(own[0]) / KCAL,
                floor_force_rmse=rmse(own[2]) / KCAL,
                ratio_energy=row["energy_rmse"] / baseline["energy"],
                ratio_force=row["force_rmse"] / baseline["force"],
                cpu_s=cpu,
            )
    finally:
        if pool is not None:
            pool.close()


def loop(args, report):
    """Run ethanol at 300 K on the fly with a cheap labeller, and report its audits."""
    from ase.build import molecule

    from onfly.labels.presets import label_maker

    settings = LoopSettings(
        run_id=f"ethanol-{args.labeller}-{args.posterior['kind']}-{args.seed}-{args.steps}",
        atoms=molecule("CH3CH2OH"),
        foundation=args.foundation,
        labeller=label_maker(args.labeller),
        threshold=args.threshold,
        unit="kcal/mol",
        energy=KCAL,
        posterior=args.posterior,
        stages=[MDStage(n_steps=args.steps, temperature=300.0)],
        time_step=0.5,
        audit_interval=args.audit_interval,
        workers=args.workers,
        seed=args.seed,
    )
    run, labels, wall = timed_run(settings, args.folder)
    report.add(labeller=args.labeller, **summary(run, labels, KCAL), wall_s=wall)


def main():
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--foundation", default="chgnet-0.3.0", help="name or model file")
    parser.add_argument("--data", type=Path, help="extxyz with energies and forces")
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50])
    parser.add_argument("--n-test", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=1.0, help="kcal/mol")
    parser.add_argument(
        "--posterior", type=json.loads, default={"kind": "sghmc"}, help="kind and settings, JSON"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--loop", action="store_true", help="a whole on-the-fly run")
    parser.add_argument("--labeller", default="gfn2-xtb")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--audit-interval", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("ethanol-run"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.labels, args.n_test = [1, 2], 20
        args.posterior = {**args.posterior, "n_members": 2, "n_steps": 20}
        args.steps = 30
    if args.data is None and not args.loop:
        parser.error("give --data FILE for learning curves, or --loop for an on-the-fly run")
    settings = {k: str(v) for k, v in vars(args).items()}
    report = Report("ethanol", settings)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.data is not None:
        learning_curve(args, report)
    if args.loop:
        loop(args, report)
    report.finish(args.json)


if __name__ == "__main__":
    main()
