"""What a family of potentials must keep, as one check that packages outside can call in a test.

.. code-block:: python

    from ase.build import bulk
    from onfly.potentials import load_foundation
    from onfly.testing.contracts import check_potential

    def test_my_family():
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
        atoms.rattle(0.1, seed=1)
        check_potential(load_foundation("my-model", dtype=torch.float64), atoms)
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import numpy as np
import safetensors.torch
import torch
from ase import Atoms

from onfly.potentials import Params, Potential, Prediction, evaluate_stacked, stack_parameters
from onfly.potentials.edges import EdgePotential

__all__ = ["CHECKS", "ContractError", "check_potential"]


class ContractError(AssertionError):
    """A potential does not do what every potential must.

    Examples
    --------
    >>> issubclass(ContractError, AssertionError)
    True
    """


def check_potential(
    potential: Potential,
    atoms: Atoms,
    *,
    step: float = 1e-4,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    skip: tuple[str, ...] = (),
) -> None:
    """Check a potential on one configuration, best in double precision.

    Parameters
    ----------
    potential
        Loaded with all elements of the configuration, in float64: differences of single-precision
        energies are too coarse.
    atoms
        At least two atoms, off their equilibrium. Stress is checked if it is periodic.
    step
        Of the finite differences: Å, and strain.
    rtol, atol
        Tolerances; the absolute one in eV, eV/Å and eV/Å³.
    skip
        Names of checks to leave out; see `CHECKS`.

    Raises
    ------
    ContractError
        With the name of the check, what was expected and what was found.
    ValueError
        If a name in `skip` is no check, or the potential is not in double precision.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from onfly.potentials import load_foundation
    >>> water = molecule("H2O")
    >>> water.rattle(0.05, seed=0)
    >>> check_potential(load_foundation("toy"), water)
    """
    if unknown := sorted(set(skip) - set(CHECKS)):
        raise ValueError(f"no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    if potential.dtype != torch.float64:
        raise ValueError(f"{potential.name} is in {potential.dtype}: load it with torch.float64")
    check = _Check(potential, atoms.copy(), step, rtol, atol)
    for name, run in CHECKS.items():
        if name not in skip:
            check.name = name
            run(check)


class _Check:
    """A potential, a configuration and tolerances, with what all checks need."""

    name = ""

    def __init__(
        self, potential: Potential, atoms: Atoms, step: float, rtol: float, atol: float
    ) -> None:
        self.potential, self.atoms = potential, atoms
        self.step, self.rtol, self.atol = step, rtol, atol
        self.periodic = bool(atoms.pbc.all())
        self.params = potential.parameters()
        self.rng = np.random.default_rng(0)

    def predict(self, *systems: Atoms, params: Params | None = None, **what: bool) -> Prediction:
        batch = self.potential.collate([self.potential.graph(atoms) for atoms in systems])
        return self.potential.evaluate(self.params if params is None else params, batch, **what)

    def energy(self, atoms: Atoms) -> float:
        return float(self.predict(atoms, forces=False).energy[0])

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise ContractError(f"{self.potential.name}, {self.name}: {message}")

    def equal(self, found: object, expected: object, what: str, rtol: float | None = None) -> None:
        one = torch.as_tensor(found, dtype=torch.float64).detach().cpu()
        other = torch.as_tensor(expected, dtype=torch.float64).detach().cpu()
        self.require(
            one.shape == other.shape,
            f"{what} has shape {tuple(one.shape)}, expected {tuple(other.shape)}",
        )
        close = torch.allclose(
            one, other, rtol=self.rtol if rtol is None else rtol, atol=self.atol, equal_nan=True
        )
        if not close:
            worst = (one - other).abs().nan_to_num(torch.inf).max()
            self.require(False, f"{what} differs by up to {worst:.3g}")


def _shapes(c: _Check) -> None:
    n = len(c.atoms)
    found = c.predict(c.atoms, stress=c.periodic)
    c.require(found.energy.dtype == torch.float64, "the energy is not in float64")
    c.require(found.forces is not None, "no forces")
    assert found.forces is not None
    shapes = {
        "energy": (found.energy, (1,)),
        "forces": (found.forces, (n, 3)),
        "features": (found.features, (n, c.potential.n_features)),
    }
    if c.periodic and c.potential.supports_stress:
        c.require(found.stress is not None, "no stress")
        assert found.stress is not None
        shapes["stress"] = (found.stress, (1, 3, 3))
    for name, (tensor, shape) in shapes.items():
        c.require(tuple(tensor.shape) == shape, f"{name} has shape {tuple(tensor.shape)}")
        c.require(bool(tensor.isfinite().all()), f"{name} is not finite")
        c.require(not tensor.requires_grad, f"{name} keeps its graph without training=True")
    plain = c.predict(c.atoms, forces=False)
    c.require(plain.forces is None and plain.stress is None, "computes what was not asked for")
    c.equal(plain.energy, found.energy, "the energy without forces")


def _forces(c: _Check) -> None:
    forces = c.predict(c.atoms).forces
    assert forces is not None
    direction = c.rng.normal(size=(len(c.atoms), 3))
    ends = []
    for sign in (1, -1):
        moved = c.atoms.copy()
        moved.positions += sign * c.step * direction
        ends.append(c.energy(moved))
    slope = (ends[0] - ends[1]) / (2 * c.step)
    c.equal(-(forces.cpu().numpy() * direction).sum(), slope, "-force · direction against dE/ds")
    c.equal(forces.sum(0), np.zeros(3), "the sum of the forces")


def _stress(c: _Check) -> None:
    if not (c.periodic and c.potential.supports_stress):
        return
    stress = c.predict(c.atoms, stress=True).stress
    assert stress is not None
    strain = c.rng.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    ends = []
    for sign in (1, -1):
        strained = c.atoms.copy()
        strained.set_cell(c.atoms.cell @ (np.eye(3) + sign * c.step * strain), scale_atoms=True)
        ends.append(c.energy(strained))
    slope = (ends[0] - ends[1]) / (2 * c.step) / c.atoms.get_volume()
    c.equal((stress[0].cpu().numpy() * strain).sum(), slope, "stress (tension positive) · strain")


def _permutation(c: _Check) -> None:
    order = c.rng.permutation(len(c.atoms))
    one, other = c.predict(c.atoms), c.predict(c.atoms[order])
    c.equal(other.energy, one.energy, "the energy of atoms in another order")
    assert one.forces is not None
    assert other.forces is not None
    c.equal(other.forces, one.forces[order], "their forces")
    c.equal(other.features, one.features[order], "their features")


def _rotation(c: _Check) -> None:
    turn, _ = np.linalg.qr(c.rng.normal(size=(3, 3)))
    turn = turn * np.linalg.det(turn)
    turned = c.atoms.copy()
    turned.set_cell(c.atoms.cell @ turn)
    turned.positions = c.atoms.positions @ turn
    one, other = c.predict(c.atoms), c.predict(turned)
    assert one.forces is not None
    assert other.forces is not None
    c.equal(other.energy, one.energy, "the energy after a rotation")
    c.equal(other.forces.cpu().numpy(), one.forces.cpu().numpy() @ turn, "the forces after it")
    c.equal(other.features, one.features, "the features after it")


def _batch(c: _Check) -> None:
    moved = c.atoms.copy()
    moved.positions += 0.02 * c.rng.normal(size=moved.positions.shape)
    systems = [c.atoms, moved, c.atoms.repeat((2, 1, 1)) if c.periodic else c.atoms.copy()]
    together = c.predict(*systems, stress=c.periodic)
    alone = [c.predict(atoms, stress=c.periodic) for atoms in systems]
    c.equal(together.energy, torch.cat([p.energy for p in alone]), "energies of a batch")
    for name in ("forces", "features", "stress"):
        each = [getattr(p, name) for p in alone if getattr(p, name) is not None]
        if each:
            c.equal(getattr(together, name), torch.cat(each), f"{name} of a batch")


def _reused_graph(c: _Check) -> None:
    graph = c.potential.updated_graph(None, c.atoms)
    moved = c.atoms.copy()
    moved.positions += 0.02 * c.rng.normal(size=moved.positions.shape)
    batch = c.potential.collate([c.potential.updated_graph(graph, moved)])
    c.equal(
        c.potential.evaluate(c.params, batch).energy,
        c.predict(moved).energy,
        "the energy on an updated graph",
    )


def _stacked(c: _Check) -> None:
    if not (isinstance(c.potential, EdgePotential) and c.potential.can_stack):
        return
    members: list[Params] = [c.params, _moved(c.params)]
    batch = c.potential.collate([c.potential.graph(c.atoms)])
    found = evaluate_stacked(c.potential, stack_parameters(members), batch)
    each = [c.potential.evaluate(params, batch) for params in members]
    c.equal(found.energy, torch.stack([p.energy for p in each]), "energies of stacked members")
    forces = [p.forces for p in each if p.forces is not None]
    c.equal(found.forces, torch.stack(forces), "forces of stacked members")


def _moved(params: Mapping[str, torch.Tensor]) -> Params:
    generator = torch.Generator().manual_seed(0)
    return {
        name: tensor
        + 0.01 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor)
        for name, tensor in params.items()
    }


def _parameters(c: _Check) -> None:
    before = c.energy(c.atoms)
    for name, tensor in c.potential.parameters().items():
        c.require(not tensor.requires_grad, f"the parameter {name} requires a gradient")
        c.require(tensor.is_contiguous(), f"the parameter {name} is not contiguous")
        tensor.zero_()
    c.equal(c.energy(c.atoms), before, "the energy after a copy of the parameters was changed")
    own = c.potential.parameters()
    c.require(not set(own) & set(c.potential.fixed), "a fixed parameter is sampled")
    c.require(set(c.potential.prior_scale()) <= set(own), "prior_scale names unknown parameters")
    data = safetensors.torch.save({k: v.cpu() for k, v in own.items()})
    params = {k: v.to(own[k]) for k, v in safetensors.torch.load(data).items()}
    found = c.predict(c.atoms, params=params, forces=False).energy
    c.equal(found, [before], "the energy with parameters from a safetensors file", 1e-12)
    # How they reach the worker processes of a posterior.
    c.require(bool(pickle.dumps(own)), "the parameters cannot be pickled")


def _gradient(c: _Check) -> None:
    params = {name: tensor.requires_grad_() for name, tensor in c.potential.parameters().items()}
    batch = c.potential.collate([c.potential.graph(c.atoms)])
    found = c.potential.evaluate(params, batch, training=True)
    assert found.forces is not None
    loss = found.energy.sum() + found.forces.square().sum() + found.features.sum()
    gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    lost = [
        name
        for name, gradient in zip(params, gradients, strict=True)
        if gradient is None or not bool(gradient.isfinite().all())
    ]
    c.require(not lost, f"no finite gradient by {', '.join(lost[:5])}")


# Name -> check, in the order in which they run.
CHECKS = {
    "shapes": _shapes,
    "forces": _forces,
    "stress": _stress,
    "permutation": _permutation,
    "rotation": _rotation,
    "batch": _batch,
    "reused_graph": _reused_graph,
    "stacked": _stacked,
    "parameters": _parameters,
    "gradient": _gradient,
}
