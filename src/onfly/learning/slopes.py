"""Derivatives of the summed node features by positions and strain, for a last layer.

With w the weights of a last layer, E = wᵀ Σ_i f_i, so that the forces of a draw of w are the
derivative of one number: one reverse pass for each w, whatever the number of atoms. The passes run
together where the graph is small (`torch.autograd.grad` with ``is_grads_batched``): that saves the
time of starting operations (ethanol by MACE: 16 passes in 27 instead of 42 ms), but its large
tensors lose where arithmetic decides (64 atoms of silicon by CHGNet: 0.72 instead of 0.48 s).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from torch import Tensor

from onfly.potentials import Batch, Params, Potential
from onfly.potentials.edges import EdgeBatch, EdgePotential, derivatives

__all__ = ["feature_slopes"]

# pairs of a batch times passes at a time, beyond which passes one by one are faster
BATCHED_PAIRS = 1000
PASSES = 32
# Å, and relative: of the central differences of potentials that are not functions of pair vectors
STEP = 1e-3


def feature_slopes(
    potential: Potential,
    params: Params,
    batch: Batch,
    weights: Tensor | None = None,
    *,
    stress: bool = False,
    atoms: Sequence[Atoms] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return forces and stresses of energies that are linear in the summed features.

    Parameters
    ----------
    potential, params
        Model, without heads.
    batch
        Configurations with N atoms in all.
    weights
        Weights w of the last layer, shape (S, F); None takes each feature alone, S = F.
    stress
        Also return stresses.
    atoms
        The configurations, which only potentials need that are not functions of pair vectors:
        theirs are differentiated numerically.

    Returns
    -------
    tuple
        -∂(wᵀ Σ f)/∂x, shape (S, N, 3), and ∂(wᵀ Σ f)/∂ε / V, shape (S, B, 3, 3), in float64; the
        units are those of the features per Å and Å³.

    Raises
    ------
    ValueError
        If the potential needs `atoms` and they are missing.
    """
    if not isinstance(potential, EdgePotential):
        return _by_differences(potential, params, weights, stress, atoms)
    data: EdgeBatch = batch.payload
    with torch.enable_grad():
        vectors = data.vectors.detach().requires_grad_()
        _, features = potential.site_energies(params, vectors, data)
        rows = torch.eye(features.shape[1]) if weights is None else weights
        rows = rows.to(features)
        if len(data.center) <= BATCHED_PAIRS:
            parts = []
            for chunk in rows.split(PASSES):
                cotangent = chunk[:, None, :].expand(-1, len(features), -1)
                (gradient,) = torch.autograd.grad(
                    features,
                    vectors,
                    cotangent,
                    retain_graph=True,
                    is_grads_batched=True,
                    materialize_grads=True,
                )
                parts.append(gradient)
            gradient = torch.cat(parts)
        else:
            found = [
                torch.autograd.grad(
                    features,
                    vectors,
                    row.expand_as(features),
                    retain_graph=True,
                    materialize_grads=True,
                )[0]
                for row in rows
            ]
            gradient = torch.stack(found)
    force, tension = derivatives(gradient.detach(), batch, forces=True, stress=stress)
    assert force is not None
    return force.double(), None if tension is None else tension.double()


def _by_differences(
    potential: Potential,
    params: Params,
    weights: Tensor | None,
    stress: bool,
    atoms: Sequence[Atoms] | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the same by central differences, one configuration after another."""
    if atoms is None:
        raise ValueError(f"slopes of the features of {potential.name} need the configurations")
    forces, tensions = [], []
    for configuration in atoms:
        shape = (len(configuration), 3)
        forces.append(-_differences(potential, params, configuration, shape, strain=False))
        if stress:
            slope = _differences(potential, params, configuration, (3, 3), strain=True)
            tensions.append(slope / configuration.get_volume())
    force = torch.cat(forces)
    tension = torch.stack(tensions) if stress else None
    if weights is None:
        return force.movedim(-1, 0), None if tension is None else tension.movedim(-1, 0)
    w = weights.double()
    return (
        torch.einsum("sf,nif->sni", w, force),
        None if tension is None else torch.einsum("sf,bijf->sbij", w, tension),
    )


def _differences(
    potential: Potential, params: Params, atoms: Atoms, shape: tuple[int, int], *, strain: bool
) -> Tensor:
    """Return derivatives of the summed features by positions or strain, shape (*shape, F)."""
    moved = []
    for i in range(shape[0]):
        for j in range(shape[1]):
            for sign in (1.0, -1.0):
                other = atoms.copy()
                if strain:
                    cell = other.cell.array
                    deformation = torch.eye(3, dtype=torch.float64).numpy()
                    deformation[i, j] += 0.5 * sign * STEP
                    deformation[j, i] += 0.5 * sign * STEP
                    other.set_cell(cell @ deformation, scale_atoms=True)
                else:
                    other.positions[i, j] += sign * STEP
                moved.append(potential.graph(other))
    batch = potential.collate(moved)
    features = potential.evaluate(params, batch, forces=False).features.detach().double()
    summed = features.new_zeros(len(moved), features.shape[1]).index_add(0, batch.owner, features)
    slopes = (summed[0::2] - summed[1::2]) / (2.0 * STEP)
    return slopes.view(*shape, -1)
