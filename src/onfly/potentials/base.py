"""What every foundation potential offers: a pure function of (parameters, batch of graphs).

A potential holds the pretrained weights but no state that changes: parameters come in as a
dictionary of tensors, so that the members of an ensemble share one module, one graph and one cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

__all__ = ["Batch", "Defaults", "Params", "Potential", "Prediction"]

Params = dict[str, Tensor]


@dataclass(frozen=True)
class Defaults:
    """Settings of the method that depend on the foundation model (paper, section on settings).

    Parameters
    ----------
    prior_std
        Standard deviation σ_TL of the Gaussian transfer-learning prior.
    step_size
        Largest step size γ₀ of the cyclic schedule of the sampler.
    shape, rate
        Gamma prior (a, b) of the calibration.
    source
        Where the values come from ("paper", or how they were measured).
    fit_step_size
        Largest step size of chains without noise, by Adam.

    Examples
    --------
    >>> from onfly.potentials import load_foundation
    >>> load_foundation("toy", elements=["Cu"]).defaults.prior_std
    0.1
    """

    prior_std: float
    step_size: float
    shape: float
    rate: float
    source: str
    fit_step_size: float = 1e-3


@dataclass(frozen=True)
class Batch:
    """Graphs of B configurations with N atoms in all, on one device.

    Parameters
    ----------
    n_atoms
        Atoms of each configuration, shape (B,).
    owner
        Configuration of each atom, shape (N,).
    volume
        Cell volume in Å³, shape (B,); NaN where the configuration is not periodic.
    payload
        What the potential's own code needs.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> crystals = [bulk("Cu"), bulk("Cu", cubic=True)]
    >>> batch = potential.collate([potential.graph(atoms) for atoms in crystals])
    >>> batch.n_atoms, batch.owner
    (tensor([1, 4]), tensor([0, 1, 1, 1, 1]))
    """

    n_atoms: Tensor
    owner: Tensor
    volume: Tensor
    payload: Any


@dataclass(frozen=True)
class Prediction:
    """Energies (eV), forces (eV/Å), stresses (eV/Å³, tension positive) and node features.

    Parameters
    ----------
    energy
        Total energy of each configuration, shape (B,), always in float64: single precision would
        round the total of a large cell by more than the thresholds in use.
    forces
        Shape (N, 3), or None when not asked for.
    stress
        Shape (B, 3, 3), or None when not asked for.
    features
        Rotation-invariant features of each atom, shape (N, F).

    Examples
    --------
    >>> import torch
    >>> said = Prediction(energy=torch.zeros(1).double(), forces=torch.zeros(4, 3), stress=None,
    ...                   features=torch.zeros(4, 16))
    >>> said.stress is None
    True
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    features: Tensor


class Potential(ABC):
    """A foundation potential: pretrained weights and a pure evaluation function.

    Attributes
    ----------
    name
        The name it was loaded by, such as ``"chgnet-0.3.0"``.
    family
        ``"chgnet"``, ``"mace"``, ``"sevennet"`` …
    elements
        Chemical symbols the potential (after pruning) can describe.
    n_features
        Number F of invariant node features.
    cutoff
        Longest interaction range in Å.
    supports_stress
        Whether ``evaluate(stress=True)`` is possible for periodic cells.
    fixed
        Names of parameters that no gradient reaches; they are not sampled.
    defaults
        Settings of the method for this family.
    device, dtype
        Where and in which precision the evaluation runs.
    sha256
        Digest of the file the pretrained weights came from, if they came from a file.

    References
    ----------
    ``onfly.testing.contracts.check_potential`` checks what each must keep.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> batch = potential.collate([potential.graph(bulk("Cu", cubic=True))])
    >>> found = potential.evaluate(potential.parameters(), batch, stress=True)
    >>> found.energy.shape, found.forces.shape, found.stress.shape
    (torch.Size([1]), torch.Size([4, 3]), torch.Size([1, 3, 3]))
    """

    name: str
    family: str
    elements: tuple[str, ...]
    n_features: int
    cutoff: float
    supports_stress: bool = True
    fixed: tuple[str, ...] = ()
    defaults: Defaults
    device: torch.device
    dtype: torch.dtype
    sha256: str | None = None

    @abstractmethod
    def parameters(self) -> Params:
        """Return fresh copies (detached clones) of the pretrained, sampled parameters."""

    def prior_scale(self) -> dict[str, float]:
        """Return factors on σ_TL for parameters that were rescaled, for instance by pruning."""
        return {}

    @abstractmethod
    def graph(self, atoms: Atoms) -> Any:
        """Build the graph (neighbour list) of one configuration, to be cached by the caller."""

    def updated_graph(self, graph: Any | None, atoms: Atoms, skin: float = 0.5) -> Any:
        """Return what ``graph(atoms)`` returns, reusing the neighbour search of a previous call.

        Parameters
        ----------
        graph
            Result of the previous call, or None.
        atoms
            New configuration.
        skin
            Margin in Å within which the search is reused, by families that can.
        """
        return self.graph(atoms)

    @abstractmethod
    def collate(self, graphs: Sequence[Any]) -> Batch:
        """Join graphs into one batch on the device."""

    @abstractmethod
    def evaluate(
        self,
        params: Params,
        batch: Batch,
        *,
        forces: bool = True,
        stress: bool = False,
        training: bool = False,
    ) -> Prediction:
        """Evaluate the potential with the given parameters.

        Parameters
        ----------
        params
            All sampled parameters by name; parameters in `fixed` keep their pretrained values.
        batch
            From `collate`.
        forces, stress
            What to compute besides the energy and the features.
        training
            Keep the autograd graph, so that the result can be differentiated by ``params``.
        """
