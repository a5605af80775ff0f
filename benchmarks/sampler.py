"""CPU per step of the SGHMC sampler, against a plain loop and the bare gradient.

    python benchmarks/sampler.py --foundation MACE_SPICE.model

For each model and system, a minibatch of labels:

- ``step``: what a chain does in one step: gradient of the likelihood by the cached minibatch,
  gradient of the prior, preconditioner, noise, update.
- ``baseline``: the same in plain code: the graphs built and collated anew, and a Python loop over
  the parameters.
- ``floor``: evaluation and double backward of the same, collated minibatch, and nothing else.

Median CPU seconds of steps taken in turn. The goal is step <= 1.1 floor.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import torch
from common import Report, arguments
from systems import (
    MACE_SIZES,
    SYSTEMS,
    foundation_path,
    interleaved,
    one_thread,
    system,
    trusted,
)

from onfly.bayes import sghmc
from onfly.bayes.heads import head_log_scale, head_parameters, without_head
from onfly.bayes.likelihood import LikelihoodScales, log_likelihood
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.prior import GaussianPrior, NegativeLogPosterior
from onfly.bayes.sghmc import preconditioner_floors
from onfly.learning.target import PotentialTarget
from onfly.potentials import load_foundation
from onfly.seeds import torch_stream

STEP_SIZE = 1e-9  # the weights hardly move, so all steps cost the same


def make_target(model: str, name: str, n_labels: int, folder: Path, device: str) -> PotentialTarget:
    """Label displaced copies of a system with the model itself."""
    frames = [system(name, seed) for seed in range(n_labels)]
    elements = tuple(sorted(set(frames[0].get_chemical_symbols())))
    source = trusted(foundation_path(model, folder))
    potential = load_foundation(source, elements=elements, device=device)
    graphs = [potential.graph(atoms) for atoms in frames]
    weights = potential.parameters()
    energies, forces, stresses = [], [], []
    periodic = bool(frames[0].pbc.all()) and potential.supports_stress
    for graph in graphs:
        found = potential.evaluate(weights, potential.collate([graph]), stress=periodic)
        energies.append(float(found.energy[0]) + 0.01)
        forces.append(found.forces.cpu().numpy().astype(float) + 0.01)
        stresses.append(found.stress[0].cpu().numpy().astype(float) if periodic else None)
    return PotentialTarget(
        potential, graphs, energies, forces, stresses, LikelihoodScales(0.005), atoms=frames
    )


def runs(target: PotentialTarget, batch_size: int, seed: int):
    """Return the three things to time, as functions."""
    device = target.potential.device
    heads = head_parameters(
        target.potential.n_features, torch_stream("sampler", seed), dtype=target.potential.dtype
    )
    params = target.reference() | {name: value.to(device) for name, value in heads.items()}
    prior = GaussianPrior.around(params, 0.5, scale=target.prior_scale())
    sampler = PrioritySampler(target.n_data, batch_size, 1)
    generator = torch_stream("sampler", seed, "noise")
    indices = torch.arange(min(batch_size, target.n_data))
    weights = torch.full((len(indices),), 1.0 / len(indices), dtype=torch.float64)
    smallest = preconditioner_floors(
        prior, n_data=target.n_data, step_size=1e-3, friction=0.1, stability=0.5
    )
    state = {"ours": sghmc.init(params)}
    floors = state["ours"].params.spread(smallest)
    posterior = NegativeLogPosterior.of(prior, state["ours"].params, target.n_data)

    def step():
        sampler.draw(generator)
        _, grads = target.value_and_grad(state["ours"].params, indices, weights)
        state["ours"] = sghmc.step(
            state["ours"],
            posterior.gradient(state["ours"].params, grads),
            n_data=target.n_data,
            step_size=STEP_SIZE,
            temperature=1e-9,
            generator=generator,
            floors=floors,
            inplace=True,
        )

    theta = {name: value.clone().requires_grad_() for name, value in params.items()}
    batch, labels = target.batch(indices.tolist())

    def gradient(batch, labels):
        prediction = target.potential.evaluate(
            without_head(theta), batch, stress=labels.stress is not None, training=True
        )
        scale = head_log_scale(theta, prediction.features)
        values = log_likelihood(prediction, labels, scale, batch.owner, target.scales)
        return torch.autograd.grad(
            (weights.to(values) * values).sum(), list(theta.values()), allow_unused=True
        )

    moments = {name: [torch.zeros_like(v) for _ in range(3)] for name, v in params.items()}

    def baseline():
        graphs = [target.potential.graph(target.atoms[i]) for i in indices.tolist()]
        again = target.potential.collate(graphs)
        _, fresh = target.batch(indices.tolist())
        grads = gradient(again, fresh)
        with torch.no_grad():
            for (name, value), grad in zip(theta.items(), grads, strict=True):
                p, v, v_max = moments[name]
                g = (value - prior.mean[name]) / prior.std[name] ** 2 / target.n_data
                if grad is not None:
                    g = g - grad
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                torch.maximum(v_max, v, out=v_max)
                inverse_mass = 1.0 / (v_max.sqrt() + 1e-4)
                noise = torch.randn_like(value) * (2e-9 / (STEP_SIZE * target.n_data)) ** 0.5
                p.mul_(0.9).sub_(0.1 * g).add_(0.1 * noise / inverse_mass.sqrt())
                value.add_(STEP_SIZE * inverse_mass * p)

    return {"step": step, "baseline": baseline, "floor": lambda: gradient(batch, labels)}


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__.splitlines()[0], device=True)
    parser.add_argument(
        "--foundation", action="append", default=[], help="a model file, repeatable"
    )
    parser.add_argument("--models", nargs="*", default=[*MACE_SIZES, "chgnet-0.3.0"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--budget", type=float, default=60.0, help="CPU s for a row")
    parser.add_argument("--folder", type=Path, default=Path("models"), help="of random models")
    args = parser.parse_args()
    one_thread()
    if args.quick:
        args.models = (
            ["mace-small"] if args.models == [*MACE_SIZES, "chgnet-0.3.0"] else args.models
        )
        args.systems, args.batch_size, args.repeats = ["ethanol"], 2, 5
    report = Report("sampler", {k: str(v) for k, v in vars(args).items()})
    for model in [*args.models, *args.foundation]:
        for name in args.systems:
            try:
                target = make_target(model, name, args.batch_size, args.folder, args.device)
            except ValueError as error:  # elements that the model does not know
                print(f"{model} {name}: {error}")
                continue
            timed = runs(target, args.batch_size, args.seed)
            found = interleaved(timed, args.repeats, args.budget, args.device)
            report.add(
                model=Path(model).stem,
                system=name,
                parameters=sum(v.numel() for v in target.reference().values()),
                batch=args.batch_size,
                step_s=found["step"],
                baseline_s=found["baseline"],
                floor_s=found["floor"],
                step_over_floor=found["step"] / found["floor"],
                baseline_over_step=found["baseline"] / found["step"],
            )
    report.finish(args.json)


if __name__ == "__main__":
    main()
