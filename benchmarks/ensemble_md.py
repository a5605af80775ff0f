"""CPU per MD step of the ensemble, against one member after another with the packages' own code.

    python benchmarks/ensemble_md.py --foundation MACE_SPICE.model

- ``ours``: what an MD step costs with `Predictor`: neighbour list with a skin, mean energy, its
  std, mean forces (and stress of a periodic cell). All members move through the same steps.
- ``each``: the same with the forces of every member, as `forces_std` needs them.
- ``baseline``: the package's own ASE calculator (`MACECalculator`, `CHGNetCalculator`,
  `SevenNetCalculator`) for one member after another, each of which builds its graph anew.
- ``floor``: one member, from a graph that is there.

Median CPU seconds of calls in turn. Goals against the baseline: 2.3 for LaMnO3 with a small MACE, 5
for ethanol, 1.6 for MACE-medium pruned.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from common import Report, arguments
from systems import MACE_SIZES, SYSTEMS, foundation_path, interleaved, one_thread, system

from onfly.bayes.heads import head_parameters
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.dynamics.predictor import Predictor
from onfly.potentials import load_foundation
from onfly.seeds import torch_stream


def calculators(model: str, path: str, members) -> list:
    """Return the package's own calculator of each member; the weights do not change the cost."""
    if model.startswith("chgnet"):
        from chgnet.model import CHGNet, CHGNetCalculator

        return [
            CHGNetCalculator(CHGNet.load(verbose=False), use_device="cpu", verbose=False)
            for _ in members
        ]
    if model.startswith("sevennet"):
        from sevenn.calculator import SevenNetCalculator

        from onfly.potentials.sevennet import NAMES

        return [SevenNetCalculator(NAMES[model], device="cpu") for _ in members]
    from onfly.potentials.mace_package import import_mace

    import_mace()
    from mace.calculators import MACECalculator

    return [
        MACECalculator(model_paths=path, device="cpu", default_dtype="float32") for _ in members
    ]


def runs(model: str, atoms: Atoms, args):
    """Return what is timed, and the predictor."""
    path = foundation_path(model, args.folder)
    elements = tuple(sorted(set(atoms.get_chemical_symbols())))
    potential = load_foundation(path, elements=elements)
    generator = torch_stream("ensemble_md", args.seed)
    members = []
    for _ in range(args.members):
        weights = {
            name: value * (1.0 + 0.01 * torch.randn(value.shape, generator=generator))
            for name, value in potential.parameters().items()
        }
        members.append(
            weights | head_parameters(potential.n_features, generator, dtype=potential.dtype)
        )
    posterior = posterior_from_dict({"kind": "sghmc", "n_members": args.members})
    state = PosteriorState("sghmc", tuple(members))
    predictor = Predictor(potential, posterior, state, LikelihoodScales(0.005), "auto")
    periodic = bool(atoms.pbc.all())
    rng = np.random.default_rng(args.seed)

    def move() -> Atoms:
        moved = atoms.copy()
        moved.positions += rng.normal(scale=0.01, size=moved.positions.shape)
        return moved

    own = calculators(model, path, members)

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


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument(
        "--foundation", action="append", default=[], help="a model file, repeatable"
    )
    parser.add_argument("--models", nargs="*", default=[*MACE_SIZES, "chgnet-0.3.0"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--budget", type=float, default=60.0, help="CPU s for a row")
    parser.add_argument("--folder", type=Path, default=Path("models"), help="of random models")
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
            try:
                timed, predictor = runs(model, system(name), args)
            except ValueError as error:  # elements that the model does not know
                print(f"{model} {name}: {error}")
                continue
            found = interleaved(timed, args.repeats, args.budget)
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
