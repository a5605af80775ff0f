"""CHGNet's energy as a pure function of its parameters and the pair vectors.

The architecture is that of Deng et al., Nat. Mach. Intell. 5, 1031 (2023), as trained in the
releases 0.3.0 and r2SCAN; parameter names are those of the released checkpoints. Written anew
because the package builds its basis with in-place operations (which stacked parameters forbid),
loops over graphs in Python, and spends most of a small system's time starting operations. Here

- the two branches of each gated perceptron are one batched product, and
- the first layer of a perceptron acts on atoms and bonds before they are gathered to pairs, where
  there are fewer rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, layer_norm, linear, silu

from onfly.potentials.base import Params
from onfly.potentials.edges import UNDIRECTED, EdgeBatch
from onfly.potentials.neighbors import Pairs

__all__ = ["ATOM_CUTOFF", "INDEX_KINDS", "N_FEATURES", "chgnet_indices", "chgnet_site_energies"]

ATOM_CUTOFF = 6.0
BOND_CUTOFF = 3.0
N_FEATURES = 64
INDEX_KINDS: Mapping[str, str] = MappingProxyType(
    {**UNDIRECTED, "angle_atom": "atom", "angle_pair_i": "edge", "angle_pair_j": "edge"}
)
N_LAYERS = 4
ENVELOPE_POWER = 8
# CHGNet keeps the arc cosine away from ±1.
COSINE_SCALE = 1.0 - 1e-6


def _envelope(distance: Tensor, cutoff: float) -> Tensor:
    p, x = ENVELOPE_POWER, distance / cutoff
    a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
    power = x.square().square().square()  # x**8
    value = 1.0 + power * (a + x * (b + x * c))
    return torch.where(x < 1.0, value, torch.zeros_like(value))


def _radial(distance: Tensor, frequencies: Tensor, cutoff: float) -> Tensor:
    """Bessel functions with a smooth cutoff, shape (bonds, radial)."""
    prefactor = (2.0 / cutoff) ** 0.5 * _envelope(distance, cutoff) / distance
    return prefactor[:, None] * torch.sin(torch.outer(distance / cutoff, frequencies))


def _angular(cosine: Tensor, frequencies: Tensor) -> Tensor:
    """Fourier functions of the angle, shape (angles, 2 * order + 1)."""
    phase = torch.outer(torch.acos(cosine * COSINE_SCALE), frequencies)
    constant = torch.full_like(phase[:, :1], 0.5**0.5)
    return torch.cat([constant, torch.sin(phase), torch.cos(phase)], dim=1) * torch.pi**-0.5


def _gated(params: Params, name: str, parts: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """Apply a gated perceptron to joined features, some of them gathered by an index.

    Branch 0 is the core, branch 1 the gate, in all tensors of shape (2, rows, width).
    """

    def pair(what: str) -> Tensor:
        core, gate = what.format("core"), what.format("gate")
        return torch.stack([params[f"{name}.{core}"], params[f"{name}.{gate}"]])

    hidden = f"{name}.mlp_core.layers.3.weight" in params
    first = 0 if hidden else 1
    weight = pair(f"mlp_{{}}.layers.{first}.weight").transpose(1, 2)
    bias = pair(f"mlp_{{}}.layers.{first}.bias")[:, None]
    x, start = bias, 0
    for features, index in parts:
        stop = start + features.shape[-1]
        part = torch.matmul(features, weight[:, start:stop])
        x = x + (part if index is None else part.index_select(1, index))
        start = stop
    if hidden:
        weight = pair("mlp_{}.layers.3.weight").transpose(1, 2)
        x = torch.bmm(silu(x), weight) + pair("mlp_{}.layers.3.bias")[:, None]
    x = layer_norm(x, x.shape[-1:])
    scale = torch.stack([params[f"{name}.bn1.weight"], params[f"{name}.bn2.weight"]])[:, None]
    shift = torch.stack([params[f"{name}.bn1.bias"], params[f"{name}.bn2.bias"]])[:, None]
    x = torch.addcmul(shift, x, scale)
    return silu(x[0]) * torch.sigmoid(x[1])


def chgnet_indices(pairs: Pairs) -> dict[str, np.ndarray]:
    """Number the undirected bonds, and list the angles between bonds shorter than 3 Å.

    An angle is an ordered pair of different bonds that leave the same atom.
    """
    bond, first = pairs.undirected()
    length = np.linalg.norm(pairs.vectors[first], axis=1)[bond]
    short = np.flatnonzero(length < BOND_CUTOFF)  # sorted by centre, as all pairs are
    atom = pairs.center[short]
    begin = np.searchsorted(atom, atom, side="left")
    number = np.searchsorted(atom, atom, side="right") - begin
    i = np.repeat(np.arange(len(short)), number)
    j = np.arange(len(i)) - np.repeat(np.cumsum(number) - number, number) + begin[i]
    keep = i != j
    i, j = i[keep], j[keep]
    return {
        "bond": bond,
        "pair": first,
        "angle_atom": atom[i],
        "angle_pair_i": short[i],
        "angle_pair_j": short[j],
    }


def chgnet_site_energies(params: Params, vectors: Tensor, data: EdgeBatch) -> tuple[Tensor, Tensor]:
    """Return CHGNet's energy of each atom, without the reference, and the atom features.

    Parameters
    ----------
    params
        Parameters by their names in the checkpoint.
    vectors
        Pair vectors in Å, shape (E, 3).
    data
        Joined graphs with the indices ``bond`` (undirected bond of each pair, (E,)), ``pair`` (one
        pair of each bond, (U,)), ``angle_atom``, ``angle_pair_i``, ``angle_pair_j``, (A,).

    Returns
    -------
    tuple
        Energies in eV, shape (N,), and the features before the last convolution, which are
        invariant under rotation, shape (N, 64).
    """
    index = data.index
    bond, center, neighbor = index["bond"], data.center, data.neighbor
    angle_atom = index["angle_atom"]
    angle_i = bond.index_select(0, index["angle_pair_i"])
    angle_j = bond.index_select(0, index["angle_pair_j"])

    pair_vectors = vectors.index_select(0, index["pair"])
    distance = pair_vectors.square().sum(1).sqrt()
    encoder = "bond_basis_expansion.rbf_expansion"
    radial = _radial(distance, params[f"{encoder}_ag.frequencies"], ATOM_CUTOFF)
    bonds = linear(radial, params["bond_embedding.weight"])
    weights = linear(radial, params["bond_weights_ag.weight"]).index_select(0, bond)
    atoms = embedding(data.species, params["atom_embedding.embedding.weight"])

    radial_bg = _radial(distance, params[f"{encoder}_bg.frequencies"], BOND_CUTOFF)
    weights_bg = linear(radial_bg, params["bond_weights_bg.weight"])
    angle_weights = weights_bg.index_select(0, angle_i) * weights_bg.index_select(0, angle_j)
    unit = vectors / vectors.square().sum(1, keepdim=True).sqrt()
    cosine = (
        unit.index_select(0, index["angle_pair_i"]) * unit.index_select(0, index["angle_pair_j"])
    ).sum(1)
    fourier = _angular(cosine, params["angle_basis_expansion.fourier_expansion.frequencies"])
    angles = linear(fourier, params["angle_embedding.weight"])

    def convolve_atoms(layer: int) -> Tensor:
        name = f"atom_conv_layers.{layer}"
        parts = [(atoms, center), (bonds, bond), (atoms, neighbor)]
        message = _gated(params, f"{name}.twoBody_atom", parts) * weights
        total = torch.zeros_like(atoms).index_add(0, center, message)
        return atoms + linear(total, params[f"{name}.mlp_out.layers.1.weight"])

    for layer in range(N_LAYERS - 1):
        atoms = convolve_atoms(layer)
        parts = [(bonds, angle_i), (bonds, angle_j), (angles, None), (atoms, angle_atom)]
        name = f"bond_conv_layers.{layer}"
        message = _gated(params, f"{name}.twoBody_bond", parts) * angle_weights
        total = torch.zeros_like(bonds).index_add(0, angle_i, message)
        bonds = bonds + linear(total, params[f"{name}.mlp_out.layers.1.weight"])
        if layer < N_LAYERS - 2:  # the last angles would not be used
            parts = [(bonds, angle_i), (bonds, angle_j), (angles, None), (atoms, angle_atom)]
            angles = angles + _gated(params, f"angle_layers.{layer}.twoBody_bond", parts)
    features = atoms
    atoms = convolve_atoms(N_LAYERS - 1)
    x = layer_norm(
        atoms, atoms.shape[-1:], params["readout_norm.weight"], params["readout_norm.bias"]
    )
    for layer in (0, 2, 4):
        x = silu(
            linear(x, params[f"mlp.layers.{layer}.weight"], params[f"mlp.layers.{layer}.bias"])
        )
    return linear(x, params["mlp.layers.7.weight"], params["mlp.layers.7.bias"])[:, 0], features
