"""The interface of every posterior, so that the loop does not depend on how it is sampled.

A package adds a posterior by an entry point of the group ``onfly.posteriors``, whose name is the
kind and whose value is ``module:Class``; the class is a frozen dataclass that derives from
`Posterior`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import numpy as np
from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
)
from torch import Tensor

from onfly.bayes import ensemble
from onfly.bayes.parallel import ChainPool, TargetFactory
from onfly.potentials import Params, Potential
from onfly.spec.entry_points import attribute, paths_of

__all__ = [
    "ENTRY_POINT_GROUP",
    "POSTERIORS",
    "MemberForces",
    "Posterior",
    "PosteriorState",
    "UpdateInfo",
    "posterior_from_dict",
    "posterior_kinds",
]

# Of this package: they need no metadata, so a source tree that is not installed has them too.
POSTERIORS: dict[str, str] = {
    "sghmc": "onfly.bayes.sghmc_posterior:SGHMCPosterior",
    "last_layer": "onfly.bayes.last_layer:LastLayerPosterior",
}
ENTRY_POINT_GROUP = "onfly.posteriors"
_FINITE = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True)
class PosteriorState:
    """Samples of the posterior.

    Parameters
    ----------
    kind
        Kind of the posterior that made it.
    members
        Parameters of each member by name, in the shapes of `Potential.parameters`, and of its head
        where the posterior learns one.
    extra
        Other tensors of the posterior, such as a Cholesky factor.

    Examples
    --------
    >>> from onfly.potentials import load_foundation
    >>> posterior = posterior_from_dict({"kind": "sghmc", "n_members": 4})
    >>> state = posterior.initial(load_foundation("toy", elements=["Cu"]), ("my run",))
    >>> len(state.members), state.kind
    (4, 'sghmc')
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
        CPU time of all chains, and of what is made of their samples, s.
    n_reused
        Chains whose results were found in the cache directory.
    n_cores
        Cores that it could use; its numbers do not depend on them.

    Examples
    --------
    >>> UpdateInfo(traces=(), cpu_seconds=1.5).n_reused
    0
    """

    traces: tuple[dict[str, Any], ...]
    cpu_seconds: float
    n_reused: int = 0
    n_cores: int = 1


@dataclass(frozen=True)
class MemberForces:
    """What the M members say of the forces of one configuration with N atoms.

    Parameters
    ----------
    forces
        eV/Å, shape (M, N, 3).
    features
        Invariant node features, shape (M, N, F).
    species
        Atomic number of each atom, or any other number that groups atoms, shape (N,).
    stress
        eV/Å³, shape (M, 3, 3), or None where there is none.
    own_std
        σ_F by the members' heads, eV/Å, shape (M, N), or None without heads.
    force_slopes, stress_slopes
        Forces and stresses of the last layers that `Posterior.slope_weights` gave, shapes
        (M, S, N, 3) and (M, S, 3, 3); None where it gave none.

    Examples
    --------
    >>> import torch
    >>> said = MemberForces(forces=torch.zeros(4, 2, 3), features=torch.zeros(4, 2, 16),
    ...                     species=torch.tensor([29, 29]))
    >>> said.stress is None
    True
    """

    forces: Tensor
    features: Tensor
    species: Tensor
    stress: Tensor | None = None
    own_std: Tensor | None = None
    force_slopes: Tensor | None = None
    stress_slopes: Tensor | None = None


class Posterior(ABC):
    """Settings of a posterior; subclasses are frozen dataclasses.

    Attributes
    ----------
    kind
        Name in `POSTERIORS`.
    n_members
        Number of members M.

    Raises
    ------
    ValueError
        By the subclasses: a setting is impossible.

    Examples
    --------
    One of your own is in "Extending" of the documentation. Those there are:

    >>> posterior = posterior_from_dict({"kind": "sghmc", "n_members": 4})
    >>> isinstance(posterior, Posterior), posterior.kind, posterior.n_members
    (True, 'sghmc', 4)
    """

    kind: ClassVar[str]
    n_members: int

    def initial(self, potential: Potential, seed_key: tuple[str | int, ...]) -> PosteriorState:
        """Return the state before any label: every member has the pretrained weights.

        All members predict alike here, so their disagreement means nothing before the first update.
        Posteriors with further parameters, such as heads, add them here from streams of `seed_key`.
        """
        members = tuple(potential.parameters() for _ in range(self.n_members))
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

    def label_errors(self, state: PosteriorState) -> tuple[np.ndarray, float] | None:
        """Return what the last fit left of the energies of its labels, and the force error.

        Returns
        -------
        tuple or None
            Predictions minus labels, eV, shape (N,), in the order of the labels, and the RMS of the
            error of a force along a random direction before it was learned, eV/Å. None, as here, if
            the std close to labels needs no correction (`onfly.dynamics.near_labels`).
        """
        return None

    def slope_weights(self, state: PosteriorState) -> Tensor | None:
        """Return the last layers whose forces `force_moments` asks for, shape (M, S, F), or None.

        Their forces are derivatives of weighted sums of features (`onfly.learning.slopes`): the
        caller computes them, because a posterior knows no atoms.
        """
        return None

    def last_layer_draws(
        self, state: PosteriorState, count: int, seed_key: tuple[str | int, ...]
    ) -> Tensor | None:
        """Return random deviations of the last layer, shape (M, count, F), or None.

        With w one of those of a member, its energy plus w·Σf is a draw from the posterior. None
        says that the members themselves are the draws.
        """
        return None

    def force_moments(self, state: PosteriorState, members: MemberForces) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the force components, each of shape (N, 3), in float64.

        Here: the unbiased variance over the members, and the mean of their own σ_F² where they have
        heads. Unlike that of the energy, this is the whole variance.
        """
        return ensemble.force_moments(members.forces, members.own_std)

    def stress_moments(self, state: PosteriorState, members: MemberForces) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the stress components, each of shape (3, 3), in float64.

        The fixed σ_S² of the likelihood is not contained: the caller adds it.

        Raises
        ------
        ValueError
            If the members give no stress.
        """
        if members.stress is None:
            raise ValueError("the members give no stress")
        return ensemble.moments(members.stress)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings with the kind, as `posterior_from_dict` takes them."""
        settings: Any = self  # subclasses are dataclasses
        return {"kind": self.kind, **asdict(settings)}


def posterior_kinds() -> dict[str, str]:
    """Return all kinds of posterior as ``kind -> module:Class``; an own kind cannot be replaced.

    Returns
    -------
    dict
        Those of the package and of entry points.

    Examples
    --------
    >>> posterior_kinds()["last_layer"]
    'onfly.bayes.last_layer:LastLayerPosterior'
    """
    return {**paths_of(ENTRY_POINT_GROUP), **POSTERIORS}


def posterior_from_dict(settings: Mapping[str, Any]) -> Posterior:
    """Build a posterior from its kind and settings, such as ``{"kind": "sghmc", "n_members": 4}``.

    Parameters
    ----------
    settings
        `kind`, and the fields of its class.

    Returns
    -------
    Posterior
        A frozen dataclass.

    Raises
    ------
    ValueError
        If the kind is unknown or cannot be imported, or a setting is not one of that kind.
    TypeError
        If an entry point names something that is not a posterior.

    Examples
    --------
    >>> posterior_from_dict({"kind": "last_layer", "n_steps": 400}).n_steps
    400
    >>> posterior_from_dict({"kind": "laplace"})
    Traceback (most recent call last):
        ...
    ValueError: unknown posterior kind 'laplace': use one of ...
    """
    options = dict(settings)
    kind = options.pop("kind", None)
    path = POSTERIORS.get(kind) or posterior_kinds().get(kind)
    if path is None:
        raise ValueError(
            f"unknown posterior kind {kind!r}: use one of {', '.join(posterior_kinds())}, or "
            f"install a package with an entry point in the group {ENTRY_POINT_GROUP}"
        )
    cls = attribute(path, f"posterior {kind!r}")
    if not (isinstance(cls, type) and issubclass(cls, Posterior) and is_dataclass(cls)):
        raise TypeError(f"{path} is not a dataclass derived from onfly.bayes.Posterior")
    known = {f.name for f in fields(cls)}
    if unknown := options.keys() - known:
        raise ValueError(
            f"posterior {kind!r} has no setting {', '.join(sorted(unknown))}: it has "
            f"{', '.join(sorted(known))}"
        )
    _check_types(kind, cls, options)
    return cls(**options)


def _check_types(kind: Any, cls: type, options: Mapping[str, Any]) -> None:
    """Refuse values of a wrong type, nan and infinity, before they are compared with numbers."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # annotations of another package that exist for its type checker only
        return
    for name, value in options.items():
        try:
            TypeAdapter(hints[name], config=_FINITE).validate_python(value, strict=True)
        except PydanticSchemaGenerationError:
            continue  # a class that pydantic does not know
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise ValueError(f"posterior {kind!r}: {name} = {value!r}: {message}") from None
