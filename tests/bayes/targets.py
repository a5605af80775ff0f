"""Targets with known posteriors, and a small pair potential with trainable weights."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor

from onfly.bayes import (
    CyclicSchedule,
    GaussianPrior,
    LikelihoodScales,
    PrioritySampler,
    adam,
    run_cycle,
    sghmc,
)
from onfly.bayes.last_layer_rows import LabelErrors
from onfly.learning import PotentialTarget
from onfly.potentials import Batch, Defaults, Params, Potential, Prediction

DEFAULTS = Defaults(prior_std=0.5, step_size=1e-3, shape=1.5, rate=10.0, source="test")


class PairPotential(Potential):
    """E = Σ_i w₂ · tanh(W₁ · Σ_j radial basis(r_ij)): smooth, float64, with stress."""

    name, family, elements = "pair", "pair", ("Ar",)
    n_features, cutoff, defaults = 6, 4.0, DEFAULTS
    device, dtype = torch.device("cpu"), torch.float64
    centres = torch.linspace(0.8, 3.6, 5, dtype=torch.float64)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(11)
        options = {"generator": generator, "dtype": torch.float64}
        self._weights = {
            "w1": torch.randn(6, 5, **options) * 0.5,
            "w2": torch.randn(6, **options) * 0.5,
            "bias": torch.zeros(1, dtype=torch.float64),
            "unused": torch.ones(3, dtype=torch.float64),
        }

    def parameters(self) -> Params:
        return {name: value.clone() for name, value in self._weights.items()}

    def graph(self, atoms: Atoms):
        i, j, shift = neighbor_list("ijS", atoms, self.cutoff)
        volume = atoms.cell.volume if atoms.pbc.any() else np.nan
        return {
            "positions": torch.tensor(atoms.positions),
            "cell": torch.tensor(np.array(atoms.cell)),
            "edges": torch.tensor(np.stack([i, j])),
            "shift": torch.tensor(shift, dtype=torch.float64),
            "volume": volume,
        }

    def collate(self, graphs) -> Batch:
        n_atoms = torch.tensor([len(g["positions"]) for g in graphs])
        start = torch.cumsum(n_atoms, 0) - n_atoms
        owner = torch.repeat_interleave(torch.arange(len(graphs)), n_atoms)
        payload = {
            "positions": torch.cat([g["positions"] for g in graphs]),
            "edges": torch.cat([g["edges"] + s for g, s in zip(graphs, start, strict=True)], dim=1),
            "offset": torch.cat([g["shift"] @ g["cell"] for g in graphs]),
        }
        volume = torch.tensor([g["volume"] for g in graphs], dtype=torch.float64)
        return Batch(n_atoms, owner, volume, payload)

    def evaluate(self, params, batch, *, forces=True, stress=False, training=False):
        n = len(batch.n_atoms)
        positions = batch.payload["positions"].clone().requires_grad_(forces)
        strain = torch.zeros(n, 3, 3, dtype=torch.float64, requires_grad=stress)
        i, j = batch.payload["edges"]
        vectors = positions[j] + batch.payload["offset"] - positions[i]
        vectors = vectors + torch.einsum("eij,ej->ei", strain[batch.owner[i]], vectors)
        r = vectors.norm(dim=-1, keepdim=True)
        envelope = 0.5 * (1 + torch.cos(torch.pi * r / self.cutoff))
        basis = envelope * torch.exp(-2.0 * (r - self.centres) ** 2)
        density = torch.zeros(len(batch.owner), 5, dtype=torch.float64).index_add(0, i, basis)
        features = torch.tanh(density @ params["w1"].T)
        atomic = features @ params["w2"] + params["bias"]
        energy = torch.zeros(n, dtype=torch.float64).index_add(0, batch.owner, atomic)
        force = virial = None
        if forces:
            inputs = [positions, strain] if stress else [positions]
            grads = torch.autograd.grad(energy.sum(), inputs, create_graph=training)
            force = -grads[0]
            virial = grads[1] / batch.volume[:, None, None] if stress else None
        return Prediction(energy, force, virial, features)


def argon(seed: int, n: int = 4, pbc: bool = True) -> Atoms:
    rng = np.random.default_rng(seed)
    return Atoms("Ar" * n, positions=rng.uniform(0, 4.5, (n, 3)), cell=[5.0] * 3, pbc=pbc)


def pair_target(n_labels: int, noise_seed: int = 0, energy_std: float = 0.01, copies: int = 1):
    """Labels by the pair potential with other weights; picklable through functools.partial."""
    potential = PairPotential()
    teacher = potential.parameters()
    generator = torch.Generator().manual_seed(noise_seed)
    for name in ("w1", "w2"):
        noise = torch.randn(teacher[name].shape, generator=generator, dtype=torch.float64)
        teacher[name] = teacher[name] + 0.1 * noise
    atoms = [argon(s) for s in range(n_labels)] * copies
    graphs = [potential.graph(a) for a in atoms]
    labels = [potential.evaluate(teacher, potential.collate([g]), stress=True) for g in graphs]
    return PotentialTarget(
        potential,
        graphs,
        [float(label.energy) for label in labels],
        [label.forces.detach().numpy() for label in labels],
        [label.stress[0].detach().numpy() for label in labels],
        LikelihoodScales(energy_std, force_std_base=0.02, stress_std=0.01),
        atoms=atoms,
    )


class LinearGaussianTarget:
    """y = X θ + noise with known noise std, in many independent copies that are sampled at once.

    With X the identity and one datum it is a correlated or plain Gaussian.

    Parameters
    ----------
    x
        Shape (N, D).
    y
        Shape (N,).
    noise_std
        Scalar.
    n_copies
        Copies of θ: the parameter has shape (n_copies, D).
    """

    defaults = DEFAULTS

    def __init__(self, x: Tensor, y: Tensor, noise_std: float, n_copies: int) -> None:
        self.x, self.y, self.noise_std, self.n_copies = x, y, noise_std, n_copies
        self.n_data = len(y)

    def reference(self) -> Params:
        return {"theta": torch.zeros(self.n_copies, self.x.shape[1], dtype=self.x.dtype)}

    def prior_scale(self) -> dict[str, float]:
        return {}

    def fingerprint(self) -> str:
        return hashlib.sha256(self.x.numpy().tobytes() + self.y.numpy().tobytes()).hexdigest()

    def value_and_grad(self, params, indices, weights):
        x = self.x[indices]
        residual = self.y[indices] - params["theta"] @ x.T
        weighted = residual * weights.to(x)
        value = -0.5 * (weighted * residual).sum(-1).mean() / self.noise_std**2
        return value, {"theta": weighted @ x / self.noise_std**2}

    def posterior(self, prior_std: float) -> tuple[Tensor, Tensor]:
        """Exact mean and covariance."""
        d = self.x.shape[1]
        precision = self.x.T @ self.x / self.noise_std**2 + torch.eye(d).to(self.x) / prior_std**2
        covariance = torch.linalg.inv(precision)
        return covariance @ self.x.T @ self.y / self.noise_std**2, covariance


def linear_target(n_copies: int = 4) -> LinearGaussianTarget:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    return LinearGaussianTarget(x, y, 0.5, n_copies)


def die() -> None:
    """A target factory that kills its process."""
    os._exit(3)


class LinearRowsTarget:
    """Labels whose features are given, for the closed formula of the last layer."""

    def __init__(self, rows: Tensor, residual: float = 0.0) -> None:
        self.energy_rows, self.n_data, self.residual = rows, len(rows), residual
        self.scales = LikelihoodScales(0.3)

    def summed_features(self, params: Params) -> Tensor:
        return self.energy_rows

    def feature_slopes(self, params, index, directions):
        raise AssertionError("no force rows were asked for")

    def errors(self, params, indices=None):
        n = self.n_data
        return LabelErrors(
            torch.full((n,), self.residual, dtype=torch.float64),
            torch.zeros(n, 3, dtype=torch.float64),
            torch.zeros(n, 3, 3, dtype=torch.float64),
            torch.ones(n, dtype=torch.int64),
        )

    def n_atoms(self, index: int) -> int:
        return 1


def linear_rows_target(n: int, residual: float = 0.0) -> LinearRowsTarget:
    generator = torch.Generator().manual_seed(21)
    return LinearRowsTarget(torch.randn(n, 5, generator=generator, dtype=torch.float64), residual)


class LinearForcesTarget:
    """Force errors drawn from the very Gaussian that the last layer claims, times a factor.

    Each label has one atom, its slopes are given vectors per Cartesian direction, and the error of
    its forces is the slope of a random linear function of the features with covariance
    scale² (L Lᵀ)⁻¹, and noise of a given std on each component.
    """

    scales = LikelihoodScales(0.3)

    def __init__(self, n: int, factor: Tensor, scale: float, noise_std: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(3)
        size = len(factor)
        self.n_data = n
        self.slopes = torch.randn(n, 3, size, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, size, 1, generator=generator, dtype=torch.float64)
        weights = torch.linalg.solve_triangular(factor.mT, noise, upper=True)
        self.found = scale * (self.slopes @ weights).squeeze(-1)
        extra = torch.randn(self.found.shape, generator=generator, dtype=torch.float64)
        self.found = self.found + noise_std * extra

    def feature_slopes(self, params, index, directions):
        return torch.as_tensor(directions[:, 0]) @ self.slopes[index]

    def errors(self, params, indices=None):
        forces = self.found[indices]
        empty = torch.zeros(0, 3, 3, dtype=torch.float64)
        return LabelErrors(forces.new_zeros(len(forces)), forces, empty, torch.ones(len(forces)))

    def n_atoms(self, index: int) -> int:
        return 1


def cycle(
    target, prior_std=0.5, n_steps=1500, step_size=1e-2, seed=0, batch_size=5, burn_in=0.2,
    optimizer="sghmc", start=None, plateau=None, **settings,
):  # fmt: skip
    start = target.reference() if start is None else start
    prior = GaussianPrior.around(start, prior_std)
    generator = torch.Generator().manual_seed(seed)
    if optimizer == "adam":
        transform = adam.transform(**settings)
    else:
        transform = sghmc.transform(
            prior, n_data=target.n_data, step_size=step_size, generator=generator, **settings
        )
    return run_cycle(
        target,
        prior,
        start,
        CyclicSchedule(n_steps, step_size, burn_in=burn_in),
        PrioritySampler(target.n_data, batch_size),
        transform,
        generator,
        plateau=plateau,
    )
