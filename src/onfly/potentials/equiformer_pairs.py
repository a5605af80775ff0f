"""What EquiformerV2 makes of pairs: which it keeps, and the frame and Wigner matrices of each.

The package draws the part of a frame that the pair leaves open at random, and cuts all of it off
the gradient, so that derivatives of its energy are no forces. Here the frames are smooth functions
of the pair vectors.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from onfly.potentials.neighbors import Pairs

__all__ = ["nearest", "pair_frames", "wigner_matrices"]

DEGENERATE = 0.01  # Å; neighbours this close to the farthest are kept too, where the model says so
# The frame's rotation about the pair winds around one direction, the opposite of this one. It is
# no direction of a lattice, where many pairs might lie.
POLE = (0.2714, 0.8327, 0.4827)


def nearest(pairs: Pairs, limit: int, strict: bool) -> np.ndarray:
    """Return which pairs join an atom to its `limit` nearest neighbours, in their order.

    Equally distant neighbours are kept or dropped by their order if `strict`; otherwise all that
    are within `DEGENERATE` of the first to be dropped are kept.
    """
    distance = np.linalg.norm(pairs.vectors, axis=1)
    order = np.lexsort((distance, pairs.center))
    center = pairs.center[order]
    rank = np.arange(len(order)) - np.searchsorted(center, center)
    keep = rank < limit
    if not strict and len(order):
        farthest = np.full(center.max() + 1, np.inf)
        farthest[center[rank == limit]] = distance[order][rank == limit]
        keep = distance[order] <= farthest[center] + DEGENERATE
    return np.sort(order[keep])


def _half_turn(axis: Tensor) -> Tensor:
    axis = axis / axis.square().sum(-1, keepdim=True).sqrt()
    return 2.0 * axis[..., :, None] * axis[..., None, :] - torch.eye(3).to(axis)


def pair_frames(vectors: Tensor) -> Tensor:
    """Return rotations (E, 3, 3) that turn each vector (E, 3) to the y axis.

    They are the shortest rotation to `POLE`, as two half-turns, and a fixed rotation from there.
    """
    unit = vectors.double()  # near the opposite of the pole single precision would lose the axis
    unit = unit / unit.square().sum(-1, keepdim=True).sqrt()
    pole = unit.new_tensor(POLE)
    pole = pole / pole.norm()
    up = unit.new_tensor([0.0, 1.0, 0.0])
    fixed = _half_turn(pole + up) @ _half_turn(pole)
    return fixed @ _half_turn(unit + pole) @ _half_turn(unit)


def wigner_matrices(rotation: Tensor, couplings: list[Tensor]) -> Tensor:
    """Return the Wigner matrices of degrees 0 to L as blocks, shape (E, (L+1)², (L+1)²).

    Each degree is coupled from the one before and the rotation itself, a polynomial that has a
    derivative everywhere, unlike Euler angles.

    Parameters
    ----------
    rotation
        Shape (E, 3, 3).
    couplings
        Wigner's 3j symbols of (l - 1, 1, l) for l = 2 to L.
    """
    blocks = [rotation.new_ones(len(rotation), 1, 1), rotation]
    for symbol in couplings:
        half = torch.einsum("abm,eac->ebcm", symbol, blocks[-1])
        half = torch.einsum("ebcm,ebd->ecdm", half, rotation)
        blocks.append(torch.einsum("ecdm,cdn->emn", half, symbol) * symbol.shape[-1])
    size = sum(block.shape[-1] for block in blocks)
    result, start = rotation.new_zeros(len(rotation), size, size), 0
    for block in blocks:
        stop = start + block.shape[-1]
        result[:, start:stop, start:stop] = block
        start = stop
    return result
