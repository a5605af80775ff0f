"""A committee with a fixed threshold, as an outside package would add it to onfly.

A posterior and a criterion, both made from what `docs/extending.md` offers. The four networks
differ by where they start and by their minibatches, and a label is asked for where the *model
deviation* of DP-GEN, the largest over the atoms of sqrt(⟨|F_i - ⟨F_i⟩|²⟩), exceeds a number.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from onfly.bayes import PosteriorState, SGHMCPosterior
from onfly.dynamics.criteria import Assessment, Calibrations
from onfly.dynamics.predictor import StepPrediction
from onfly.potentials import Potential
from onfly.seeds import torch_stream

__all__ = ["CommitteePosterior", "MaxForceStd", "installed"]

ENTRY_POINTS = """\
[onfly.posteriors]
committee = peers_committee:CommitteePosterior
[onfly.criteria]
max_force_std = peers_committee:MaxForceStd
"""


@dataclass(frozen=True)
class CommitteePosterior(SGHMCPosterior):
    """Networks fitted one by one, with the fit of the default posterior.

    Parameters
    ----------
    jitter
        Std of the displacement of a member's first weights in units of the RMS of their tensor:
        networks that are tuned from one foundation have no other start of their own.
    """

    n_steps: int = 200
    burn_in: float = 1.0
    optimizer: str = "adam"
    beta: float = 0.99
    eps: float = 1e-8
    learn_force_std: bool = False
    steps_per_new: int = 30
    n_members: int = 4
    jitter: float = 0.007

    kind: ClassVar[str] = "committee"

    def initial(self, potential: Potential, seed_key: tuple[str | int, ...]) -> PosteriorState:
        """Return displaced pretrained weights."""
        members = []
        for number in range(self.n_members):
            generator = torch_stream(*seed_key, "committee", number)
            weights = potential.parameters()
            for name, value in weights.items():
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                weights[name] = value + self.jitter * value.square().mean().sqrt() * noise.to(value)
            members.append(weights)
        return PosteriorState(self.kind, tuple(members))


@dataclass(frozen=True)
class MaxForceStd:
    """Ask where the model deviation exceeds a number.

    Parameters
    ----------
    value
        DP-GEN's lower trust level in eV/Å.
    n_members
        Of the committee: DP-GEN's mean over members is not the unbiased one of `Predictor`.
    """

    value: float = 0.1
    n_members: int = 4

    needs_forces_std = True

    def assess(self, prediction: StepPrediction, calibration: Calibrations) -> Assessment:
        """Return whether the committee disagrees; the calibration is not used."""
        if prediction.forces_std is None:
            raise ValueError("the model deviation needs the std of the forces")
        variance = np.square(prediction.forces_std).sum(1) * (1 - 1 / self.n_members)
        worst = int(np.argmax(variance))
        exceeded = not float(np.sqrt(variance[worst])) <= self.value
        return Assessment(exceeded, float(exceeded), exceeded, "max force std", where=(worst,))


@contextmanager
def installed() -> Iterator[None]:
    """Let onfly find both inside, by the metadata that pip would write for a package."""
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder) / "peers_committee-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: peers-committee\nVersion: 1\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        sys.path.insert(0, folder)
        invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)
