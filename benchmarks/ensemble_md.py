"""CPU per MD step of the ensemble, against one member after another with the packages' own code.

    python benchmarks/ensemble_md.py --foundation MACE_SPICE.model

- ``ours``: what an MD step costs with `Predictor`: neighbour list with a skin, mean energy, its
  std, mean forces (and stress of a periodic cell). All members move through the same steps.
- ``each``: the same with the forces of every member, as `forces_std` needs them.
- ``baseline``: the package's own ASE calculator (`MACECalculator`, `CHGNetCalculator`,
  `SevenNetCalculator`) for one member after another, each of which builds its graph anew.
- ``floor``: one member, from a graph that is there.

``--moments`` times MD at 300 K with the default posterior instead: without the std of forces, with
it at every step, and where its last value does not exclude a call, for tolerances that are a few
times the smallest that is never exceeded (``margin``, of a std).

Median CPU seconds of calls in turn (of the wall on a GPU). Goals against the baseline: 2.3 for
LaMnO3 with a small MACE, 5 for ethanol, 1.6 for MACE-medium pruned.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from common import Report, arguments, seconds
from systems import (
    MACE_SIZES,
    SYSTEMS,
    foundation_path,
    interleaved,
    one_thread,
    system,
    trusted,
)

from onfly.bayes import LastLayerPosterior
from onfly.bayes.heads import head_parameters
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.dynamics.criteria import Calibrations, EnergyCriterion, ForceCriterion
from onfly.dynamics.driver import MDDriver
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState, draw_momenta
from onfly.learning.target import PotentialTarget
from onfly.potentials import load_foundation
from onfly.seeds import torch_stream


def calculators(model: str, path: str, members, device: str) -> list:
    """Return the package's own calculator of each member; the weights do not change the cost."""
    if model.startswith("chgnet"):
        from chgnet.model import CHGNet, CHGNetCalculator

        return [
            CHGNetCalculator(CHGNet.load(verbose=False), use_device=device, verbose=False)
            for _ in members
        ]
    if model.startswith("sevennet"):
        from sevenn.calculator import SevenNetCalculator

        from onfly.potentials.sevennet import NAMES

        return [SevenNetCalculator(NAMES[model], device=device) for _ in members]
    from onfly.potentials.mace_package import import_mace

    import_mace()
    from mace.calculators import MACECalculator

    return [
        MACECalculator(model_paths=path, device=device, default_dtype="float32") for _ in members
    ]


def runs(model: str, atoms: Atoms, args):
    """Return what is timed, and the predictor."""
    path = foundation_path(model, args.folder)
    elements = tuple(sorted(set(atoms.get_chemical_symbols())))
    potential = load_foundation(trusted(path), elements=elements, device=args.device)
    generator = torch_stream("ensemble_md", args.seed)
    members = []
    for _ in range(args.members):
        weights = {
            name: value * (1.0 + 0.01 * torch.randn(value.shape, generator=generator)).to(value)
            for name, value in potential.parameters().items()
        }
        heads = head_parameters(potential.n_features, generator, dtype=potential.dtype)
        members.append({k: v.to(args.device) for k, v in (weights | heads).items()})
    posterior = posterior_from_dict({"kind": "sghmc", "n_members": args.members})
    state = PosteriorState("sghmc", tuple(members))
    predictor = Predictor(potential, posterior, state, LikelihoodScales(0.005), "auto")
    periodic = bool(atoms.pbc.all())
    rng = np.random.default_rng(args.seed)

    def move() -> Atoms:
        moved = atoms.copy()
        moved.positions += rng.normal(scale=0.01, size=moved.positions.shape)
        return moved

    own = calculators(model, path, members, args.device)

    def baseline():
        moved = move()
        if model.startswith("chgnet") and not periodic:  # its package knows crystals only
            moved.center(vacuum=10.0)
            moved.pbc = True
        for calculator in own:
            copy = moved.copy()
            copy.calc = calculator
            copy.get_potential_energy()
            copy.get_forces()
            if periodic:
                copy.get_stress()

    batch = potential.collate([potential.graph(atoms)])
    return {
        "ours": lambda: predictor.predict(move(), stress=periodic),
        "each": lambda: predictor.predict(move(), stress=periodic, forces_std=True),
        "baseline": baseline,
        "floor": lambda: potential.evaluate(potential.parameters(), batch, stress=periodic),
    }, predictor


def moments(report: Report, model: str, name: str, args) -> None:
    """Add the rows of MD with the std of forces."""
    atoms = system(name)
    elements = tuple(sorted(set(atoms.get_chemical_symbols())))
    path = foundation_path(model, args.folder)
    potential = load_foundation(trusted(path), elements=elements, device=args.device)
    periodic = bool(atoms.pbc.all()) and potential.supports_stress
    frames = [system(name, seed) for seed in range(4)]
    scales = LikelihoodScales.for_threshold(0.05, n_atoms=len(atoms))
    graphs = [potential.graph(a) for a in frames]
    found = [
        potential.evaluate(potential.parameters(), potential.collate([g]), stress=periodic)
        for g in graphs
    ]
    target = PotentialTarget(
        potential,
        graphs,
        [float(f.energy[0]) for f in found],
        [f.forces.cpu().double().numpy() for f in found],
        [f.stress[0].cpu().double().numpy() for f in found] if periodic else None,
        scales,
        atoms=frames,
    )
    posterior = LastLayerPosterior(n_steps=2, steps_per_new=0)
    state = posterior.initial(potential, ("moments",))
    state, _ = posterior.update(state, lambda: target, seed_key=("moments",), generation=1)
    predictor = Predictor(potential, posterior, state, scales)
    kinds, calibrations = tuple(int(z) for z in atoms.numbers), Calibrations()
    stage = MDStage(args.steps, temperature=300.0)
    start = predictor.predict(atoms)
    begin = MDState(
        numbers=atoms.numbers, pbc=atoms.pbc, positions=atoms.positions,
        momenta=draw_momenta(atoms, 300.0, ("moments",)), cell=atoms.cell.array, step=0,
        energy=start.energy, forces=start.forces, stress=start.stress, source="model",
    )  # fmt: skip

    def run(criterion, screened: bool = True):
        predictor.can_screen = screened
        driver = MDDriver(predictor, [stage], criterion, calibrations, ("moments",))
        at, stds, n_computed = begin, [], 0
        clock = seconds(args.device)
        for _ in range(args.steps):
            at, event = driver.step(at)
            if event.prediction.forces_std is not None and not event.prediction.bounded:
                n_computed += 1
                stds.append(event.prediction.forces_std)
        return (seconds(args.device) - clock) / args.steps, n_computed / args.steps, stds

    everything = tuple(range(len(atoms)))
    plain, _, _ = run(EnergyCriterion(1e6))
    full, _, stds = run(ForceCriterion(1e6, kinds, everything), screened=False)
    low, high = 1e-6, 1e6  # the smallest tolerance that is never exceeded
    for _ in range(50):
        middle = (low * high) ** 0.5
        over = any((calibrations.forces.exceedance(s, middle, kinds) > 0.05).any() for s in stds)
        low, high = (middle, high) if over else (low, middle)
    for margin in args.margins:
        cost, share, _ = run(ForceCriterion(margin * high, kinds, everything))
        report.add(
            model=Path(model).stem,
            system=name,
            force_draws=posterior.force_draws,
            margin=margin,
            plain_s=plain,
            full_s=full,
            ours_s=cost,
            full_over_plain=full / plain,
            ours_over_plain=cost / plain,
            computed=share,
        )


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument(
        "--foundation", action="append", default=[], help="a model file, repeatable"
    )
    parser.add_argument("--models", nargs="*", default=[*MACE_SIZES, "chgnet-0.3.0"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--budget", type=float, default=60.0, help="CPU s for a row")
    parser.add_argument("--folder", type=Path, default=Path("models"), help="of random models")
    parser.add_argument("--moments", action="store_true", help="time MD with the std of forces")
    parser.add_argument("--steps", type=int, default=100, help="MD steps of each run of --moments")
    parser.add_argument("--margins", type=float, nargs="+", default=[1.0, 1.25, 1.5, 2.0])
    args = parser.parse_args()
    one_thread()
    if args.quick:
        args.models = (
            ["mace-small"] if args.models == [*MACE_SIZES, "chgnet-0.3.0"] else args.models
        )
        args.systems, args.members, args.repeats = ["ethanol"], 4, 5
    report = Report("ensemble_md", {k: str(v) for k, v in vars(args).items()})
    for model in [*args.models, *args.foundation]:
        for name in args.systems:
            if args.moments:
                moments(report, model, name, args)
                continue
            try:
                timed, predictor = runs(model, system(name), args)
            except ValueError as error:  # elements that the model does not know
                print(f"{model} {name}: {error}")
                continue
            found = interleaved(timed, args.repeats, args.budget, args.device)
            report.add(
                model=Path(model).stem,
                system=name,
                members=args.members,
                strategy=predictor.strategy,
                ours_s=found["ours"],
                each_s=found["each"],
                baseline_s=found["baseline"],
                floor_s=found["floor"],
                baseline_over_ours=found["baseline"] / found["ours"],
                ours_over_floor=found["ours"] / found["floor"],
            )
    report.finish(args.json)


if __name__ == "__main__":
    main()
