"""Evaluation of all members of an ensemble on one batch, in one pass or one after another.

In one pass (`torch.func.vmap` over stacked parameters) a small model is several times faster,
because the cost is that of starting operations. A large model is limited by arithmetic and cache,
and is faster member by member. Which one holds is measured once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onfly.potentials.base import Batch, Params, Potential
from onfly.potentials.edges import EdgeBatch, EdgePotential, derivatives

__all__ = [
    "EnsembleEvaluator",
    "MemberPrediction",
    "Strategy",
    "evaluate_stacked",
    "stack_parameters",
]

Strategy = Literal["auto", "stacked", "sequential"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemberPrediction:
    """Predictions of M members for B configurations with N atoms in all.

    Parameters
    ----------
    energy
        eV, float64, shape (M, B).
    forces
        eV/Å, shape (M, N, 3), or (1, N, 3) if only their mean was asked for; None when not asked
        for.
    stress
        eV/Å³, tension positive, shape (M, B, 3, 3) or (1, B, 3, 3), or None when not asked for.
    features
        Shape (M, N, F).
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    features: Tensor


def stack_parameters(members: Sequence[Params]) -> Params:
    """Stack the parameters of M members along a new first axis."""
    return {name: torch.stack([m[name] for m in members]) for name in members[0]}


def evaluate_stacked(
    potential: Potential,
    stack: Params,
    batch: Batch,
    *,
    forces: bool = True,
    stress: bool = False,
    training: bool = False,
    mean: bool = False,
) -> MemberPrediction:
    """Evaluate M members on one batch in one pass, and one reverse pass for all their forces.

    Parameters
    ----------
    potential
        A potential that can be stacked.
    stack
        From `stack_parameters`: each tensor has M as its first dimension.
    batch, forces, stress, training
        As in `Potential.evaluate`.
    mean
        Forces and stress of the mean over the members only. The members then share their pair
        vectors, and what depends on nothing else (distances, spherical harmonics, radial
        functions) is evaluated and differentiated once instead of M times.

    Raises
    ------
    ValueError
        If the potential cannot be evaluated with stacked parameters.
    """
    if not (isinstance(potential, EdgePotential) and potential.can_stack):
        raise ValueError(f"{potential.name} cannot be evaluated with stacked parameters")
    data: EdgeBatch = batch.payload
    n_members = len(next(iter(stack.values())))
    derive = forces or stress
    with torch.set_grad_enabled(training or derive):
        vectors = data.vectors.detach()
        if derive and not mean:
            vectors = vectors.expand(n_members, -1, -1).clone()
        vectors.requires_grad_(derive)
        own = 0 if vectors.dim() == 3 else None
        site, features = torch.func.vmap(potential.site_energies, in_dims=(0, own, None))(
            stack, vectors, data
        )
        energy = potential.total_energy(site, batch)
        force = tension = None
        if derive:
            (gradient,) = torch.autograd.grad(
                site.sum(), vectors, create_graph=training, materialize_grads=True
            )
            if mean:
                gradient = gradient[None] / n_members
            force, tension = derivatives(gradient, batch, forces=forces, stress=stress)
    if training:
        return MemberPrediction(energy, force, tension, features)
    return MemberPrediction(energy.detach(), force, tension, features.detach())


class EnsembleEvaluator:
    """Evaluates an ensemble's members, whose parameters do not change.

    Parameters
    ----------
    potential
        The foundation potential of all members.
    members
        Parameters of each member; at least one.
    strategy
        ``"stacked"``, ``"sequential"``, or ``"auto"``: measure both at the first batch. The two
        differ by rounding, so give the one recorded in `strategy` to repeat a run exactly.

    Attributes
    ----------
    strategy
        ``"stacked"`` or ``"sequential"``; ``"auto"`` until the first evaluation.
    seconds
        CPU seconds of each strategy when they were measured.

    Raises
    ------
    ValueError
        If there is no member, the members' parameters differ in name or shape, the strategy is
        unknown, or ``"stacked"`` was asked of a potential that cannot be stacked.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> ensemble = EnsembleEvaluator(potential, [potential.parameters()] * 3, strategy="stacked")
    >>> batch = potential.collate([potential.graph(bulk("Cu", cubic=True))])
    >>> ensemble.evaluate(batch).forces.shape
    torch.Size([3, 4, 3])
    """

    def __init__(
        self,
        potential: Potential,
        members: Sequence[Params],
        strategy: Strategy = "auto",
    ) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        shapes = [{name: tensor.shape for name, tensor in m.items()} for m in members]
        if any(other != shapes[0] for other in shapes[1:]):
            raise ValueError("the members' parameters differ in name or shape")
        if strategy not in ("auto", "stacked", "sequential"):
            raise ValueError(f"unknown strategy {strategy!r}: use auto, stacked or sequential")
        stackable = isinstance(potential, EdgePotential) and potential.can_stack
        if strategy == "stacked" and not stackable:
            raise ValueError(f"{potential.name} cannot be evaluated with stacked parameters")
        if strategy == "auto" and (not stackable or len(members) == 1):
            strategy = "sequential"
        self.potential = potential
        self.strategy: Strategy = strategy
        self.seconds: dict[str, float] = {}
        # Fresh copies, because matrix products round differently on memory that is not aligned,
        # as that of tensors mapped from a file: the same weights would give other last bits.
        self._members = [{name: t.detach().clone() for name, t in m.items()} for m in members]
        self._stack: Params | None = None

    def __len__(self) -> int:
        return len(self._members)

    def evaluate(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, mean: bool = False
    ) -> MemberPrediction:
        """Evaluate every member on the batch.

        Parameters
        ----------
        batch, forces, stress
            As in `Potential.evaluate`.
        mean
            Forces and stress of the mean over the members only; energies and features are always
            those of each member.
        """
        if self.strategy == "auto":
            return self._choose(batch, forces, stress, mean)
        run = self._stacked if self.strategy == "stacked" else self._sequential
        return run(batch, forces, stress, mean)

    def _choose(self, batch: Batch, forces: bool, stress: bool, mean: bool) -> MemberPrediction:
        results: dict[str, MemberPrediction] = {}
        runs: dict[Strategy, Callable[[Batch, bool, bool, bool], MemberPrediction]] = {
            "sequential": self._sequential,
            "stacked": self._stacked,
        }
        # CPU time is not disturbed by other processes, but does not see what a GPU does.
        clock = time.perf_counter if batch.owner.is_cuda else time.process_time
        for name, run in runs.items():
            best = float("inf")
            try:
                for _ in range(3):
                    start = clock()
                    results[name] = run(batch, forces, stress, mean)
                    if batch.owner.is_cuda:
                        torch.cuda.synchronize()
                    best = min(best, clock() - start)
            except RuntimeError as error:  # out of memory, or an operation vmap does not know
                if name == "sequential":
                    raise
                _log.warning("stacked evaluation of %s failed: %s", self.potential.name, error)
                continue
            self.seconds[name] = best
        faster = self.seconds.get("stacked", float("inf")) < self.seconds["sequential"]
        self.strategy = "stacked" if faster else "sequential"
        if self.strategy == "sequential":
            self._stack = None
        _log.info("ensemble evaluation: %s (seconds: %s)", self.strategy, self.seconds)
        return results[self.strategy]

    def _sequential(self, batch: Batch, forces: bool, stress: bool, mean: bool) -> MemberPrediction:
        each = [
            self.potential.evaluate(params, batch, forces=forces, stress=stress)
            for params in self._members
        ]

        def join(tensors: list[Tensor | None]) -> Tensor | None:
            found = [t for t in tensors if t is not None]
            if not found:
                return None
            return torch.stack(found).double().mean(0, keepdim=True) if mean else torch.stack(found)

        return MemberPrediction(
            energy=torch.stack([p.energy for p in each]),
            forces=join([p.forces for p in each]),
            stress=join([p.stress for p in each]),
            features=torch.stack([p.features for p in each]),
        )

    def _stacked(self, batch: Batch, forces: bool, stress: bool, mean: bool) -> MemberPrediction:
        if self._stack is None:
            self._stack = stack_parameters(self._members)
        return evaluate_stacked(
            self.potential, self._stack, batch, forces=forces, stress=stress, mean=mean
        )
