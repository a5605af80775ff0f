"""Labels of a foundation potential: the log-likelihood of minibatches, and its gradient."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from onfly.bayes.heads import head_log_scale, without_head
from onfly.bayes.last_layer_rows import LabelErrors
from onfly.bayes.likelihood import LabelBatch, LikelihoodScales, log_likelihood
from onfly.learning.slopes import feature_slopes
from onfly.learning.threads import LabelThreads
from onfly.potentials import Batch, Params, Potential, load_foundation
from onfly.potentials.edges import EdgePotential
from onfly.potentials.fast import fast_kernels_wanted
from onfly.potentials.foundation import foundation_stamp

__all__ = ["PotentialTarget", "potential_target", "shared_potential"]

# labels evaluated together
CHUNK = 16
# pairs of a label from which on those of a minibatch are evaluated one by one, in threads if there
# are any: starting operations no longer counts
LARGE_PAIRS = 3000


class PotentialTarget:
    """Labels of a foundation potential with its heads.

    Parameters
    ----------
    potential
        The foundation potential.
    graphs
        ``potential.graph(atoms)`` of each label.
    energies
        Energies on the scale of the foundation (offset added), eV, shape (N,).
    forces
        Forces of each label, eV/Å, shapes (n_atoms, 3).
    stresses
        Stress of each label, eV/Å³, tension positive, shape (3, 3); None where there is none.
    scales
        Standard deviations of the likelihood.
    atoms
        The configurations, needed by the Gaussian over the last layer: for slopes of features,
        and to tell species apart.
    cache_size
        Collated minibatches to keep on the device.

    Raises
    ------
    ValueError
        If the lists differ in length, or a label is not finite or has the wrong shape.
    """

    def __init__(
        self,
        potential: Potential,
        graphs: Sequence[Any],
        energies: Sequence[float],
        forces: Sequence[np.ndarray],
        stresses: Sequence[np.ndarray | None] | None,
        scales: LikelihoodScales,
        *,
        atoms: Sequence[Atoms] | None = None,
        cache_size: int = 64,
    ) -> None:
        n = len(graphs)
        stresses = [None] * n if stresses is None else list(stresses)
        if n == 0 or not n == len(energies) == len(forces) == len(stresses):
            raise ValueError(
                f"need as many energies, forces and stresses as graphs, and at least one: got {n} "
                f"graphs, {len(energies)} energies, {len(forces)} forces, {len(stresses)} stresses"
            )
        self.potential, self.scales, self.graphs = potential, scales, list(graphs)
        self.n_data, self.defaults = n, potential.defaults
        self.atoms = None if atoms is None else list(atoms)
        self.cache_size = cache_size
        self._energies = [float(energy) for energy in energies]
        self._forces = [np.array(force, dtype=float) for force in forces]
        self._stresses = [None if s is None else np.array(s, dtype=float) for s in stresses]
        self._check()
        self.threads = LabelThreads(potential)
        self.apart = _apart(potential, self.graphs)
        self._lock = Lock()
        self._cache: OrderedDict[tuple[int, ...], tuple[Batch, LabelBatch]] = OrderedDict()

    def _check(self) -> None:
        for i, (energy, force, stress) in enumerate(
            zip(self._energies, self._forces, self._stresses, strict=True)
        ):
            if force.ndim != 2 or force.shape[1] != 3:
                raise ValueError(f"forces of label {i} have shape {force.shape}, not (n_atoms, 3)")
            if stress is not None and stress.shape != (3, 3):
                raise ValueError(f"stress of label {i} has shape {stress.shape}, not (3, 3)")
            finite = math.isfinite(energy) and np.isfinite(force).all()
            if not finite or not (stress is None or np.isfinite(stress).all()):
                raise ValueError(f"label {i} is not finite and must not enter a data set")

    def reference(self) -> Params:
        """Return the pretrained parameters."""
        return self.potential.parameters()

    def prior_scale(self) -> dict[str, float]:
        """Return the potential's factors on σ_TL."""
        return self.potential.prior_scale()

    def fingerprint(self, n_labels: int | None = None) -> str:
        """Return a hash of the energies, forces and stresses of the first labels, or of all."""
        energies = self._energies[:n_labels]
        digest = hashlib.sha256(repr((self.scales, energies)).encode())
        known = zip(self._forces[:n_labels], self._stresses[:n_labels], strict=True)
        for force, stress in known:
            digest.update(force.tobytes() + (b"" if stress is None else stress.tobytes()))
        return digest.hexdigest()

    def batch(self, indices: Sequence[int]) -> tuple[Batch, LabelBatch]:
        """Return some labels as one batch, from the cache if they were used together lately."""
        with self._lock:
            return self._batch(tuple(indices))

    def _batch(self, key: tuple[int, ...]) -> tuple[Batch, LabelBatch]:
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        options: dict[str, Any] = {"dtype": self.potential.dtype, "device": self.potential.device}
        stress = has_stress = None
        mask = [self._stresses[i] is not None for i in key]
        if any(mask) and self.potential.supports_stress:
            chosen = [self._stresses[i] for i in key]
            full = [np.zeros((3, 3)) if s is None else s for s in chosen]
            stress = torch.tensor(np.stack(full), **options)
            has_stress = torch.tensor(mask, device=self.potential.device)
        batch = self.potential.collate([self.graphs[i] for i in key])
        labels = LabelBatch(
            energy=torch.tensor(
                [self._energies[i] for i in key], dtype=torch.float64, device=options["device"]
            ),
            forces=torch.tensor(np.concatenate([self._forces[i] for i in key]), **options),
            stress=stress,
            has_stress=has_stress,
        )
        if labels.forces.shape[0] != batch.owner.shape[0]:
            raise ValueError(
                f"labels {list(key)} have {labels.forces.shape[0]} atoms, their graphs have "
                f"{batch.owner.shape[0]}"
            )
        self._cache[key] = (batch, labels)
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        return batch, labels

    def log_likelihood(
        self, params: Params, indices: Sequence[int], potential: Potential | None = None
    ) -> Tensor:
        """Return the log-likelihood of some labels, differentiable, shape (B,).

        `potential` is a copy of the target's own, where that is in use.
        """
        batch, labels = self.batch(indices)
        prediction = (potential or self.potential).evaluate(
            without_head(params),
            batch,
            forces=True,
            stress=labels.stress is not None,
            training=True,
        )
        log_scale = head_log_scale(params, prediction.features)
        return log_likelihood(prediction, labels, log_scale, batch.owner, self.scales)

    def value_and_grad(
        self, params: Params, indices: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Return the weighted sum of log-likelihoods and its gradient; no host synchronisation."""
        chosen = indices.tolist()
        if not self.apart:
            return self._value_and_grad(self.potential, params, chosen, weights)

        def one(potential: Potential, k: int) -> tuple[Tensor, dict[str, Tensor | None]]:
            return self._value_and_grad(potential, params, [chosen[k]], weights[k : k + 1])

        parts = self.threads.map(one, range(len(chosen)))
        total, grads = parts[0]
        for value, more in parts[1:]:
            total = total + value
            grads = {name: _added(grad, more[name]) for name, grad in grads.items()}
        return total, grads

    def _value_and_grad(
        self, potential: Potential, params: Params, indices: Sequence[int], weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        values = self.log_likelihood(leaves, indices, potential)
        total = (weights.to(values, non_blocking=True) * values).sum()
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return total.detach(), dict(zip(leaves, grads, strict=True))

    def n_atoms(self, index: int) -> int:
        """Return the number of atoms of a label."""
        return len(self._forces[index])

    def species(self, index: int) -> Tensor:
        """Return the atomic numbers of a label, shape (n_atoms,); zeros where they are unknown."""
        if self.atoms is None:
            return torch.zeros(self.n_atoms(index), dtype=torch.int64)
        return torch.as_tensor(self.atoms[index].numbers, dtype=torch.int64)

    def errors(self, params: Params, indices: Sequence[int] | None = None) -> LabelErrors:
        """Return predictions minus labels; None takes all labels."""
        chosen = range(self.n_data) if indices is None else indices
        parts = [self._errors(params, chosen[i : i + CHUNK]) for i in range(0, len(chosen), CHUNK)]
        energy, forces, stress = (torch.cat(list(found)) for found in zip(*parts, strict=True))
        return LabelErrors(
            energy, forces, stress, torch.cat([self.species(i) for i in chosen]).to(energy.device)
        )

    def _errors(self, params: Params, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        batch, labels = self.batch(indices)
        found = self.potential.evaluate(
            without_head(params), batch, forces=True, stress=labels.stress is not None
        )
        assert found.forces is not None
        forces = (found.forces.double() - labels.forces.double()).detach()
        stress = forces.new_zeros(0, 3, 3)
        if labels.stress is not None and labels.has_stress is not None:
            assert found.stress is not None
            difference = found.stress.double() - labels.stress.double()
            stress = difference.detach()[labels.has_stress]
        return (found.energy.double() - labels.energy).detach(), forces, stress

    def map_rows(
        self, params: Params, chunks: Sequence[Sequence[int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return `rows` of some labels after the other, in threads if there are any."""
        return self.threads.map(lambda own, chunk: self.rows(params, chunk, own), chunks)

    def rows(
        self, params: Params, indices: Sequence[int], potential: Potential | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what forces and stresses of labels see of a last layer: their derivatives by it.

        `potential` is a copy of the target's own, if that is in use.

        Returns
        -------
        tuple
            Rows of force components, shape (3 N, F), and of the stress components of labels with
            a stress, shape (9 B', F); float64. Those of the energies are `summed_features`.
        """
        batch, labels = self.batch(indices)
        stress = labels.stress is not None
        weights = without_head(params)
        atoms = None if self.atoms is None else [self.atoms[i] for i in indices]
        own = potential or self.potential
        force, tension = feature_slopes(own, weights, batch, stress=stress, atoms=atoms)
        n_features = force.shape[0]
        tensions = force.new_zeros(0, n_features)
        if tension is not None:  # known on the host: a mask would have to come from the device
            known = [k for k, i in enumerate(indices) if self._stresses[i] is not None]
            tensions = tension[:, known].movedim(0, -1).reshape(-1, n_features)
        return force.movedim(0, -1).reshape(-1, n_features), tensions

    def _summed_features(self, params: Params, graphs: Sequence[Any]) -> Tensor:
        batch = self.potential.collate(graphs)
        prediction = self.potential.evaluate(without_head(params), batch, forces=False)
        features = prediction.features.detach().double()
        zeros = features.new_zeros(len(graphs), features.shape[1])
        return zeros.index_add(0, batch.owner, features)

    def summed_features(self, params: Params) -> Tensor:
        """Return the features of each label, summed over its atoms, shape (N, F), float64."""
        parts = [self.graphs[i : i + CHUNK] for i in range(0, self.n_data, CHUNK)]
        return torch.cat([self._summed_features(params, part) for part in parts])

    def feature_slopes(
        self, params: Params, index: int, directions: np.ndarray, step: float = 0.02
    ) -> Tensor:
        """Return slopes of the summed features of a label, by central differences.

        Parameters
        ----------
        params
            Parameters.
        index
            Number of the label.
        directions
            Unit vectors in the 3 n_atoms coordinates, shape (K, n_atoms, 3).
        step
            Length of a displacement along a direction in Å.

        Returns
        -------
        torch.Tensor
            Shape (K, F), 1/Å, float64.
        """
        if self.atoms is None:
            raise ValueError("force rows need the configurations: build the target with atoms=…")
        graphs = []
        for sign in (1.0, -1.0):
            for direction in directions:
                moved = self.atoms[index].copy()
                moved.positions += sign * step * direction
                graphs.append(self.potential.graph(moved))
        plus, minus = self._summed_features(params, graphs).chunk(2)
        return (plus - minus) / (2.0 * step)


def _apart(potential: Potential, graphs: Sequence[Any]) -> bool:
    """Whether labels are large: neither the machine nor its load decides on last bits."""
    if potential.device.type != "cpu" or not isinstance(potential, EdgePotential):
        return False
    return max(len(graph.center) for graph in graphs) >= LARGE_PAIRS


def _added(grad: Tensor | None, more: Tensor | None) -> Tensor | None:
    if grad is None or more is None:
        return more if grad is None else grad
    return grad + more


# of one process: the MD and the updates of a run use the same, and runs follow one another
@lru_cache(maxsize=2)
def _loaded(
    foundation: str,
    stamp: tuple[Any, ...] | None,
    fast_kernels: bool,
    elements: tuple[str, ...] | None,
    device: str,
    dtype: torch.dtype | None,
) -> Potential:
    return load_foundation(
        json.loads(foundation),
        elements=elements,
        device=device,
        dtype=dtype,
        fast_kernels=fast_kernels,
    )


def shared_potential(
    foundation: Any,
    elements: tuple[str, ...] | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> Potential:
    """Load a foundation potential, once per process; nobody may change it."""
    source: Any = foundation
    if not isinstance(foundation, str):
        table = foundation if isinstance(foundation, dict) else vars(foundation)
        foundation = {k: table.get(k) for k in ("family", "source", "options") if table.get(k)}
        source = foundation["source"]
    key = json.dumps(foundation, sort_keys=True)
    return _loaded(
        key, foundation_stamp(source), fast_kernels_wanted(None), elements, device, dtype
    )


def potential_target(
    foundation: Any,
    atoms: Sequence[Atoms],
    energies: Sequence[float],
    forces: Sequence[np.ndarray],
    stresses: Sequence[np.ndarray | None] | None,
    scales: LikelihoodScales,
    *,
    elements: tuple[str, ...] | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> PotentialTarget:
    """Load a foundation potential, once per process, and build the target of some labels.

    A ``functools.partial`` of it is a target factory that can be sent to worker processes. For the
    parameters see `load_foundation` and `PotentialTarget`.
    """
    potential = shared_potential(foundation, elements, device, dtype)
    graphs = [potential.graph(a) for a in atoms]
    return PotentialTarget(potential, graphs, energies, forces, stresses, scales, atoms=atoms)
