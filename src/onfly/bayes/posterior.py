"""The interface of every posterior, so that the loop does not depend on how it is sampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from onfly.bayes.heads import head_parameters
from onfly.bayes.parallel import ChainPool, Progress, TargetFactory
from onfly.potentials import Params, Potential
from onfly.seeds import torch_stream

__all__ = ["POSTERIORS", "Posterior", "PosteriorState", "UpdateInfo", "posterior_from_dict"]

POSTERIORS: dict[str, str] = {
    "sghmc": "onfly.bayes.sghmc_posterior:SGHMCPosterior",
    "last_layer": "onfly.bayes.last_layer:LastLayerPosterior",
}


@dataclass(frozen=True)
class PosteriorState:
    """Samples of the posterior.

    Parameters
    ----------
    kind
        Kind of the posterior that made it.
    members
        Parameters of each member, heads included.
    extra
        Other tensors of the posterior, such as a Cholesky factor.
    """

    kind: str
    members: tuple[Params, ...]
    extra: Params = field(default_factory=dict)


@dataclass(frozen=True)
class UpdateInfo:
    """What an update did.

    Parameters
    ----------
    traces
        Record of each chain (see `onfly.bayes.chain.ChainTrace`).
    cpu_seconds
        CPU time of all chains.
    n_reused
        Chains whose results were found in the cache directory.
    """

    traces: tuple[dict[str, Any], ...]
    cpu_seconds: float
    n_reused: int = 0


class Posterior(ABC):
    """Settings of a posterior; subclasses are frozen dataclasses.

    Attributes
    ----------
    kind
        Name in `POSTERIORS`.
    n_members
        Number of members M.
    """

    kind: ClassVar[str]
    n_members: int

    def initial(self, potential: Potential, seed_key: tuple[str | int, ...]) -> PosteriorState:
        """Return the state before any label: pretrained weights, and heads of random streams.

        All members predict alike here, so their disagreement means nothing before the first update.
        """
        members = tuple(
            potential.parameters()
            | head_parameters(
                potential.n_features,
                torch_stream(*seed_key, "head", c),
                dtype=potential.dtype,
                device=potential.device,
            )
            for c in range(self.n_members)
        )
        return PosteriorState(self.kind, members)

    @abstractmethod
    def update(
        self,
        state: PosteriorState,
        target_factory: TargetFactory,
        *,
        seed_key: tuple[str | int, ...],
        generation: int,
        n_new: int = 1,
        n_workers: int = 1,
        cache_dir: str | Path | None = None,
        pool: ChainPool | None = None,
        on_progress: Progress | None = None,
    ) -> tuple[PosteriorState, UpdateInfo]:
        """Learn the labels of a target.

        The result depends on the state, the labels, the seed key and the generation only, not on
        the number of workers nor on what was cached.

        Parameters
        ----------
        state
            The posterior so far; its members are where the chains start.
        target_factory
            Makes the target of all labels; picklable if other processes are to run it.
        seed_key
            Key of the run's random streams.
        generation
            Number of this update, part of the streams' keys.
        n_new
            Number of newest labels, the last ones of the target.
        n_workers
            Processes; 1 runs in this one.
        cache_dir
            Where finished chains are kept until the caller removes them.
        pool
            Workers to use instead of `n_workers` new ones.
        on_progress
            Called as ``on_progress(chain, step, n_steps)``.

        Raises
        ------
        ChainDivergedError
            If a chain diverges.
        """

    @abstractmethod
    def energy_moments(
        self, state: PosteriorState, energies: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and model variance of the energy, each of shape (B,), in float64.

        Parameters
        ----------
        state
            The posterior.
        energies
            By each member, eV, shape (M, B).
        features
            Invariant node features summed over the atoms of each configuration, by each member,
            shape (M, B, F); may be None if `needs_features` is False.

        Notes
        -----
        The fixed σ_E² of the likelihood is not contained: the caller adds it.
        """

    @property
    def needs_features(self) -> bool:
        """Whether `energy_moments` uses the features."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return the settings with the kind, as `posterior_from_dict` takes them."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


def posterior_from_dict(settings: Mapping[str, Any]) -> Posterior:
    """Build a posterior from its kind and settings, such as ``{"kind": "sghmc", "n_members": 4}``.

    Raises
    ------
    ValueError
        If the kind is unknown, or a setting is not one of that kind.
    """
    options = dict(settings)
    kind = options.pop("kind", None)
    if kind not in POSTERIORS:
        raise ValueError(f"unknown posterior kind {kind!r}: use one of {', '.join(POSTERIORS)}")
    module, name = POSTERIORS[kind].split(":")
    cls = getattr(import_module(module), name)
    known = {f.name for f in fields(cls)}
    if unknown := options.keys() - known:
        raise ValueError(
            f"posterior {kind!r} has no setting {', '.join(sorted(unknown))}: it has "
            f"{', '.join(sorted(known))}"
        )
    return cls(**options)
