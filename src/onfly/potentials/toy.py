"""A tiny smooth potential for tests: radial functions, a small perceptron, a Morse background.

It has all that the loop needs (energy, forces, stress, features, a few hundred parameters) at
milliseconds per call, and no physical value. Names are ``toy`` and ``toy-SEED``; the seed draws
the "pretrained" weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor

from onfly.potentials.base import Defaults, Params
from onfly.potentials.edges import EdgeBatch, EdgePotential

__all__ = ["ToyPotential", "load"]

N_RADIAL = 8
N_SPECIES_CHANNELS = 2
WIDTH = 16
WELL_DEPTH = 0.4
WELL_WIDTH = 2.0
_NAME = re.compile(r"toy(?:-(\d+))?")


def load(
    name: str,
    elements: Sequence[str] | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    dtype: torch.dtype | None = None,
) -> ToyPotential:
    """Make the toy potential of a seed (default 0); needs no package and no file."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not a toy potential: {name!r} (use toy or toy-SEED)")
    return ToyPotential(name, int(match.group(1) or 0), elements, device, dtype or torch.float64)


class ToyPotential(EdgePotential):
    """Morse pairs (fixed) plus a perceptron of radial atomic densities (sampled)."""

    family = "toy"
    cutoff = 5.0
    defaults = Defaults(0.1, 1e-3, 1.5, 10.0, "not tuned: made for tests")

    def __init__(
        self,
        name: str,
        seed: int,
        elements: Sequence[str] | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.name = name
        self.elements = tuple(elements) if elements is not None else tuple(chemical_symbols[1:])
        self.device, self.dtype = device, dtype
        numbers = torch.tensor([chemical_symbols.index(s) for s in self.elements])
        self._radius = torch.tensor(covalent_radii)[numbers].to(device, dtype)
        # A smooth fixed embedding of the atomic number, so that every element is known.
        phase = numbers[:, None] * torch.tensor([0.7, 2.3])
        self._embedding = (1.0 + 0.5 * torch.sin(phase)).to(device, dtype)
        self._centers = torch.linspace(0.8, 4.4, N_RADIAL, device=device, dtype=dtype)
        n_in = (N_RADIAL + 1) * N_SPECIES_CHANNELS
        self.n_features = WIDTH
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int, scale: float) -> Tensor:
            values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
            return values.to(device, dtype)

        self._weights: Params = {
            "hidden.weight": draw(WIDTH, n_in, scale=n_in**-0.5),
            "hidden.bias": draw(WIDTH, scale=0.1),
            "readout.weight": draw(1, WIDTH, scale=0.3 * WIDTH**-0.5),
            "readout.bias": draw(1, scale=0.1),
        }

    def parameters(self) -> Params:
        """Return fresh copies of the weights drawn from the seed."""
        return {name: tensor.clone() for name, tensor in self._weights.items()}

    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Half of the Morse energies of an atom's pairs plus its perceptron's output."""
        embedding = self._embedding[data.species]
        distance = vectors.square().sum(-1).sqrt()
        envelope = 0.25 * (1.0 + torch.cos(torch.pi * distance / self.cutoff)).square()
        bond = self._radius[data.species[data.center]] + self._radius[data.species[data.neighbor]]
        decay = torch.exp(-WELL_WIDTH * (distance - bond))
        morse = 0.5 * WELL_DEPTH * (decay * decay - 2.0 * decay) * envelope
        radial = torch.exp(-((distance[:, None] - self._centers) ** 2) / 0.5**2)
        density = (radial * envelope[:, None])[:, :, None] * embedding[data.neighbor][:, None, :]
        zero = vectors.new_zeros(len(data.species), N_RADIAL * N_SPECIES_CHANNELS)
        summed = zero.index_add(0, data.center, density.flatten(1))
        features_in = torch.cat([summed, embedding], dim=1)
        hidden = torch.tanh(
            torch.nn.functional.linear(features_in, params["hidden.weight"], params["hidden.bias"])
        )
        out = torch.nn.functional.linear(hidden, params["readout.weight"], params["readout.bias"])
        pair = vectors.new_zeros(len(data.species)).index_add(0, data.center, morse)
        return out[:, 0] + pair, hidden
