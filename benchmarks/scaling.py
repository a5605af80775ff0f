"""How costs grow with the number of atoms and of labels.

    python benchmarks/scaling.py --json scaling.json
    python benchmarks/scaling.py --foundation MACE_SPICE.model --sizes 8 64

Supercells of rock salt (diamond for models that do not know it), the default posterior. CPU
seconds of

- ``md_s``: an MD step, the std of the energy included;
- ``predict_s``, ``predict_std_s``: a prediction without and with the std of the forces;
- ``fit_s``: a step of the fit, the mean of ``--fit-steps`` of them, which are alike;
- ``rows_s``: the rest of an update, above all the Gaussian's rows, made anew of all labels;
- ``update_s``: an update by one new label, rows_s + 200 fit_s: extrapolated in the fit steps only;
- ``update_2_s``: the same with two threads, for the labels of a minibatch and of the rows, with
  ``threads_wall_over_cpu``: 0.5 where two cores are free, and more where the machine is shared;

and bytes: ``weights_b`` of the posterior, ``label_b`` of a label, ``frame_b`` of a frame of the
trajectory. The exponents are slopes of log cost over log size: of all points, and of the last two.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from common import Report, arguments, median
from systems import one_thread

from onfly.bayes import LastLayerPosterior
from onfly.bayes.chain_task import to_bytes
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState
from onfly.dynamics.criteria import Calibrations, EnergyCriterion
from onfly.dynamics.driver import MDDriver
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState, draw_momenta
from onfly.labels.store import LabelStore
from onfly.learning.target import PotentialTarget
from onfly.potentials import Potential, load_foundation
from onfly.schemas import LabelDoc, structure_hash, to_structure
from onfly.seeds import numpy_stream

DEFAULT_STEPS = LastLayerPosterior().n_steps
WORSE = 1.15  # an exponent above this one is called worse than linear
COSTS = ("md_s", "predict_s", "predict_std_s", "fit_s", "rows_s", "update_s", "update_2_s")
BYTES = ("weights_b", "label_b", "frame_b")


def supercell(n_atoms: int, elements: Sequence[str]) -> Atoms:
    """Return a supercell of the cubic cell of 8 atoms that is as cubic as it can be.

    Raises
    ------
    ValueError
        If the number is no multiple of 8.
    """
    cells, rest = divmod(n_atoms, 8)
    if rest or cells < 1:
        raise ValueError(f"supercells have a multiple of 8 atoms, not {n_atoms}")
    repeats, left = [1, 1, 1], cells
    for factor in (p for p in range(cells, 1, -1) if all(p % d for d in range(2, p))):
        while left % factor == 0:
            repeats[int(np.argmin(repeats))] *= factor
            left //= factor
    known = {"Na", "Cl"} <= set(elements)
    cell = bulk("NaCl", "rocksalt", a=5.64, cubic=True) if known else bulk("C", cubic=True)
    return cell.repeat(repeats)


def displaced(n_atoms: int, count: int, seed: int, elements: Sequence[str]) -> list[Atoms]:
    """Return displaced supercells."""
    frames = []
    for number in range(count):
        atoms = supercell(n_atoms, elements)
        rng = numpy_stream("scaling", seed, n_atoms, number)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=True))
    return frames


def target_of(potential: Potential, frames: Sequence[Atoms]) -> PotentialTarget:
    """Return labels by the potential itself: what they say does not change what they cost."""
    graphs = [potential.graph(atoms) for atoms in frames]
    found = [
        potential.evaluate(potential.parameters(), potential.collate([graph]), stress=True)
        for graph in graphs
    ]
    return PotentialTarget(
        potential,
        graphs,
        [float(f.energy[0]) + 0.01 for f in found],
        [f.forces.detach().cpu().double().numpy() for f in found],
        [f.stress[0].detach().cpu().double().numpy() for f in found],
        LikelihoodScales.for_threshold(0.05, n_atoms=len(frames[0])),
        atoms=frames,
    )


def cpu_of(run: Callable[[], object], repeats: int = 1) -> float:
    """Return the median CPU seconds of a call; threads count."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return median(found)


def updated(
    target: PotentialTarget, potential: Potential, n_steps: int, n_threads: int = 1
) -> tuple[PosteriorState, float, float]:
    """Update by one new label, with so many fit steps.

    Returns
    -------
    tuple
        The posterior, and CPU seconds of the fit and of the rest; threads count.
    """
    posterior = LastLayerPosterior(n_steps=n_steps, steps_per_new=0)
    state = posterior.initial(potential, ("scaling",))
    start = time.process_time()
    found, info = posterior.update(
        state, lambda: target, seed_key=("scaling",), generation=1, n_workers=n_threads
    )
    return found, info.cpu_seconds, time.process_time() - start - info.cpu_seconds


def update_costs(
    target: PotentialTarget, potential: Potential, n_steps: int, n_threads: int = 1
) -> tuple[dict[str, float], PosteriorState]:
    """Return the costs of an update, and the posterior after it."""
    state, fit, rows = updated(target, potential, n_steps)
    found = {"fit_s": fit / n_steps, "rows_s": rows}
    found["update_s"] = rows + DEFAULT_STEPS * fit / n_steps
    if n_threads > 1:
        start = time.monotonic()
        _, fit, rows = updated(target, potential, n_steps, n_threads)
        found["update_2_s"] = rows + DEFAULT_STEPS * fit / n_steps
        found["threads_wall_over_cpu"] = (time.monotonic() - start) / (fit + rows)
    return found, state


def md_costs(
    atoms: Atoms, target: PotentialTarget, potential: Potential, state: PosteriorState, args: Any
) -> dict[str, float]:
    """Return the costs of MD steps and predictions."""
    predictor = Predictor(potential, LastLayerPosterior(), state, target.scales, "sequential")
    rng = numpy_stream("scaling", "moves", args.seed)

    def moved() -> Atoms:
        copy = atoms.copy()
        copy.positions += rng.normal(scale=0.01, size=copy.positions.shape)
        return copy

    predictor.predict(moved())
    start = predictor.predict(atoms)
    at = MDState(
        numbers=atoms.numbers, pbc=atoms.pbc, positions=atoms.positions,
        momenta=draw_momenta(atoms, 600.0, ("scaling",)), cell=atoms.cell.array, step=0,
        energy=start.energy, forces=start.forces, stress=start.stress, source="model",
    )  # fmt: skip
    driver = MDDriver(
        predictor, [MDStage(args.repeats, temperature=600.0)], EnergyCriterion(1e6),
        Calibrations(), ("scaling",), time_step=2.0,
    )  # fmt: skip
    begin = time.process_time()
    for _ in range(args.repeats):
        at, _ = driver.step(at)
    md = (time.process_time() - begin) / args.repeats
    plain = cpu_of(lambda: predictor.predict(moved()), args.repeats)
    std = cpu_of(lambda: predictor.predict(moved(), forces_std=True), min(args.repeats, 3))
    return {"md_s": md, "predict_s": plain, "predict_std_s": std}


def stored(atoms: Atoms, state: PosteriorState) -> dict[str, int]:
    """Return the bytes of weights, of a label and of a frame of the trajectory."""
    weights = sum(len(to_bytes(member)) for member in state.members) + len(to_bytes(state.extra))
    structure, forces = to_structure(atoms), np.zeros((len(atoms), 3)) + 0.123456789012
    doc = LabelDoc.from_structure(
        meta_structure=structure,
        structure=structure,
        structure_hash=structure_hash(structure),
        energy=-1.0,
        forces=forces.tolist(),
        stress=np.zeros((3, 3)).tolist(),
    )
    with tempfile.TemporaryDirectory() as folder:
        LabelStore(folder).put(doc)
        label = sum(p.stat().st_size for p in Path(folder).rglob("*.json"))
    buffer = io.StringIO()
    copy = atoms.copy()
    copy.arrays["forces"] = forces
    ase.io.write(buffer, copy, format="extxyz")
    return {"weights_b": weights, "label_b": label, "frame_b": len(buffer.getvalue())}


def loaded(model: str) -> Potential:
    """Return a model for the elements of its supercells."""
    try:
        return load_foundation(model, elements=("Cl", "Na"))
    except ValueError:
        return load_foundation(model, elements=("C",))


def exponents(rows: Sequence[dict[str, Any]], size: str) -> dict[str, tuple[float, float]]:
    """Return the slopes of log cost over log size: of all points, and of the last two."""
    found = {}
    for key in (*COSTS, *BYTES):
        points = [(row[size], row[key]) for row in rows if row.get(key)]
        if len(points) < 2:
            continue
        x, y = np.log(np.array(points, dtype=float)).T
        last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
        found[key] = (float(np.polyfit(x, y, 1)[0]), last)
    return found


def tell(report: Report, model: str, size: str, rows: Sequence[dict[str, Any]]) -> None:
    """Add the exponents, and name what grows worse than linearly."""
    for key, (slope, last) in exponents(rows, size).items():
        worse = last > WORSE
        report.add(study=f"exponent of {size}", model=model, cost=key, all=slope, last=last,
                   worse_than_linear=worse)  # fmt: skip


def study(report: Report, model: str, args: Any) -> None:
    """Do the two studies of a model."""
    potential = loaded(model)
    name = model if model not in args.foundation else Path(model).stem
    # warms up
    updated(target_of(potential, displaced(8, 1, args.seed, potential.elements)), potential, 1)
    by_atoms, by_labels = [], []
    for n_atoms in args.sizes:
        frames = displaced(n_atoms, args.labels_of_atoms, args.seed, potential.elements)
        atoms, target = frames[0], target_of(potential, frames)
        costs, state = update_costs(target, potential, args.fit_steps, args.threads)
        row = {
            "study": "atoms", "model": name, "atoms": n_atoms, "labels": len(frames),
            "pairs": len(target.graphs[0].center), "parameters": _size(potential),
            **costs, **md_costs(atoms, target, potential, state, args), **stored(atoms, state),
            "load": os.getloadavg()[0],
        }  # fmt: skip
        by_atoms.append(row)
        report.add(**row)
        if args.json:
            report.write(args.json)
    for n_labels in args.labels:
        n_atoms = args.sizes[0]
        frames = displaced(n_atoms, n_labels, args.seed, potential.elements)
        costs, _ = update_costs(target_of(potential, frames), potential, args.fit_steps)
        row = {"study": "labels", "model": name, "atoms": n_atoms, "labels": n_labels, **costs}
        by_labels.append(row | {"load": os.getloadavg()[0]})
        report.add(**by_labels[-1])
        if args.json:
            report.write(args.json)
    tell(report, name, "atoms", by_atoms)
    tell(report, name, "labels", by_labels)


def _size(potential: Potential) -> int:
    return sum(value.numel() for value in potential.parameters().values())


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["chgnet-0.3.0"])
    parser.add_argument(
        "--foundation", action="append", default=[], help="a model file, repeatable"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32, 160, 512])
    parser.add_argument("--labels", type=int, nargs="*", default=[1, 5, 20, 60, 150])
    parser.add_argument("--labels-of-atoms", type=int, default=2, help="in the study of sizes")
    parser.add_argument("--fit-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="MD steps and predictions")
    parser.add_argument("--threads", type=int, default=2, help="of the second timing; 1 for none")
    args = parser.parse_args()
    if args.quick:
        args.models, args.sizes, args.labels = ["toy"], [8, 16], [1, 4]
    if args.fit_steps < 1:
        parser.error("--fit-steps must be at least 1")
    one_thread()
    report = Report("scaling", {k: str(v) for k, v in vars(args).items() if k != "json"})
    for model in [*args.models, *args.foundation]:
        study(report, model, args)
    report.finish(args.json)


if __name__ == "__main__":
    main()
