"""The paper's posterior: an ensemble of independent SGHMC chains."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from onfly.bayes import ensemble
from onfly.bayes.chain_task import ChainResult, ChainSettings, ChainTask, from_bytes, to_bytes
from onfly.bayes.heads import with_heads
from onfly.bayes.parallel import ChainPool, TargetFactory, run_chains
from onfly.bayes.posterior import Posterior, PosteriorState, UpdateInfo
from onfly.potentials import Potential

__all__ = ["SGHMCPosterior"]


@dataclass(frozen=True)
class SGHMCPosterior(ChainSettings, Posterior):
    """Samples by one cycle of AMSGrad-SGHMC per update and chain (paper, section on the sampler).

    The settings of the cycle are those of `ChainSettings`; the defaults are the paper's.

    Parameters
    ----------
    n_members
        Number of chains M; at least 2, or there is no disagreement to measure.
    n_steps, batch_size, step_size, prior_std, head_std, friction, beta, eps, burn_in, ramp, \
    stability, min_steps, tolerance, optimizer, learn_force_std, steps_per_new, warm_up, \
    batch_atoms
        Of the cycle, as in `ChainSettings`.

    Raises
    ------
    ValueError
        If a setting is impossible.

    References
    ----------
    T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery 2026, 10.1039/d5dd00392j; cycles:
    R. Zhang et al., arXiv:1902.03932.

    Examples
    --------
    >>> SGHMCPosterior.paper().n_members, SGHMCPosterior(n_members=4).n_steps
    (8, 2000)
    """

    n_members: int = 8

    kind: ClassVar[str] = "sghmc"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_members < 2:
            raise ValueError(
                f"an ensemble needs at least 2 members to have a spread, got {self.n_members}"
            )

    @classmethod
    def paper(cls, **changes: Any) -> SGHMCPosterior:
        """Return the paper's settings: 8 chains of 2000 steps, batch 5, α 0.1, β 0.999, ε 1e-4."""
        published = {
            "n_members": 8,
            "n_steps": 2000,
            "batch_size": 5,
            "friction": 0.1,
            "beta": 0.999,
            "eps": 1e-4,
            "burn_in": 0.2,
            "ramp": 0.05,
        }
        return cls(**{**published, **changes})

    def initial(self, potential: Potential, seed_key: tuple[str | int, ...]) -> PosteriorState:
        """Return pretrained weights, with a head of its own for each member where it is learned."""
        members = super().initial(potential, seed_key).members
        if self.learn_force_std:
            members = with_heads(members, potential, seed_key)
        return PosteriorState(self.kind, members)

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
        """Run one cycle of every chain; see `Posterior.update`."""
        if len(state.members) != self.n_members:
            raise ValueError(
                f"the state has {len(state.members)} members, the settings ask for {self.n_members}"
            )
        tasks = chain_tasks(
            self, state, seed_key, generation=generation, n_new=n_new, cache_dir=cache_dir
        )
        results = run_chains(target_factory, tasks, n_workers=n_workers, pool=pool)
        members = tuple(
            from_bytes(result.sample, member)
            for result, member in zip(results, state.members, strict=True)
        )
        return PosteriorState(self.kind, members), update_info(
            results, n_workers if pool is None else pool.n_workers
        )

    def energy_moments(
        self, state: PosteriorState, energies: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and unbiased variance over the members; see `Posterior.energy_moments`."""
        return ensemble.energy_moments(energies)


def chain_tasks(
    settings: ChainSettings,
    state: PosteriorState,
    seed_key: tuple[str | int, ...],
    *,
    generation: int,
    n_new: int,
    cache_dir: str | Path | None,
) -> list[ChainTask]:
    """Return one task for each member of the state."""
    cycle = ChainSettings(**{f.name: getattr(settings, f.name) for f in fields(ChainSettings)})
    directory = None if cache_dir is None else str(cache_dir)
    return [
        ChainTask(cycle, to_bytes(member), tuple(seed_key), c, generation, n_new, directory)
        for c, member in enumerate(state.members)
    ]


def update_info(results: list[ChainResult], n_cores: int) -> UpdateInfo:
    """Return the record of the chains of an update."""
    return UpdateInfo(
        traces=tuple(result.trace for result in results),
        cpu_seconds=sum(result.cpu_seconds for result in results),
        n_reused=sum(result.reused for result in results),
        n_cores=n_cores,
    )
