"""Potentials whose energy is a sum over atoms of functions of the pair vectors.

All message-passing potentials are of this form. Energies are differentiated by the vectors v_e
from a centre i to its neighbour j, which gives the forces and the virial in one pass:
F_i = Σ_e∈out(i) g_e − Σ_e∈in(i) g_e and dE/dε = Σ_e v_e ⊗ g_e, with g_e = dE/dv_e.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from onfly.potentials.base import Batch, Params, Potential, Prediction
from onfly.potentials.neighbors import Candidates, Pairs, find_candidates, select_pairs

__all__ = ["UNDIRECTED", "EdgeBatch", "EdgeGraph", "EdgePotential", "derivatives"]

# Index tensors of a family are joined by shifting them: kind of index -> what is counted.
Index = dict[str, Tensor]
# Kinds of the two arrays of `Pairs.undirected`, in families that use them.
UNDIRECTED: Mapping[str, str] = MappingProxyType({"bond": "bond", "pair": "edge"})


@dataclass(frozen=True)
class EdgeGraph:
    """Graph of one configuration, as tensors on the potential's device.

    Parameters
    ----------
    species
        Index of each atom's element in `Potential.elements`, shape (N,).
    center, neighbor
        Atom indices of each pair, shape (E,).
    vectors
        Pair vectors in Å, shape (E, 3), in the potential's precision.
    volume
        Å³, or NaN when not periodic in three dimensions.
    index
        Further index tensors of the family, by name.
    candidates
        Where the pairs were selected from.
    rank
        How many pairs of the same centre come before each pair, shape (E,), for families with a
        table of neighbours.
    degree
        Largest number of pairs with the same centre.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> round(load_foundation("toy", elements=["Cu"]).graph(bulk("Cu", cubic=True)).volume, 2)
    47.05
    """

    species: Tensor
    center: Tensor
    neighbor: Tensor
    vectors: Tensor
    volume: float
    index: Index = field(default_factory=dict)
    candidates: Candidates | None = None
    rank: Tensor | None = None
    degree: int = 0


@dataclass(frozen=True)
class EdgeBatch:
    """Joined graphs of B configurations, as tensors on the potential's device.

    Parameters
    ----------
    species
        Index of each atom's element in `Potential.elements`, shape (N,).
    center, neighbor
        Atom indices of each pair, shape (E,).
    vectors
        Pair vectors in Å, shape (E, 3), in the potential's precision.
    owner
        Configuration of each pair, shape (E,).
    index
        Further index tensors of the family, by name.
    slots
        The table of neighbours of families that use one: the pairs of each atom, shape (N, D),
        with E in empty places; otherwise None.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> potential.collate([potential.graph(bulk("Cu", cubic=True))]).payload.vectors.shape[1]
    3
    """

    species: Tensor
    center: Tensor
    neighbor: Tensor
    vectors: Tensor
    owner: Tensor
    index: Index
    slots: Tensor | None = None


def derivatives(
    gradient: Tensor, batch: Batch, *, forces: bool, stress: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Turn dE/dv of all pairs into forces and stress.

    Parameters
    ----------
    gradient
        dE/dv in eV/Å, shape (..., E, 3).
    batch
        Joined graphs.
    forces, stress
        Which of the two to return; the other is None.

    Returns
    -------
    tuple
        Forces of shape (..., N, 3) in eV/Å and stress of shape (..., B, 3, 3) in eV/Å³, NaN where
        there is no volume.
    """
    data: EdgeBatch = batch.payload
    lead = gradient.shape[:-2]
    force = virial = None
    if forces:
        zero = gradient.new_zeros(*lead, len(batch.owner), 3)
        force = zero.index_add(-2, data.center, gradient)
        force = force.index_add(-2, data.neighbor, gradient, alpha=-1)
    if stress:
        outer = (data.vectors.unsqueeze(-1) * gradient.unsqueeze(-2)).flatten(-2)
        if len(batch.n_atoms) == 1:
            virial = outer.sum(-2, keepdim=True)
        else:
            zero = gradient.new_zeros(*lead, len(batch.n_atoms), 9)
            virial = zero.index_add(-2, data.owner, outer)
        virial = virial.unflatten(-1, (3, 3))
        virial = 0.5 * (virial + virial.transpose(-1, -2))
        volume = batch.volume.to(gradient.dtype)[:, None, None]
        # Not a division by NaN, whose derivative would be NaN in training too.
        virial = (virial / volume.nan_to_num(1.0)).masked_fill(volume.isnan(), float("nan"))
    return force, virial


class EdgePotential(Potential):
    """Base class: a family supplies `site_energies` and, if it needs any, more index tensors.

    `graph`, `collate` and `evaluate` of `Potential` are there: neighbour lists, batches, energies
    (eV), forces (eV/Å) and stresses (eV/Å³) follow from the energies of the atoms.

    Raises
    ------
    ValueError
        By `graph` and `collate`: an element is unknown, or nothing is given.

    Examples
    --------
    A Morse potential is in "Extending" of the documentation; the toy potential is another:

    >>> from onfly.potentials import load_foundation
    >>> isinstance(load_foundation("toy"), EdgePotential)
    True
    """

    # Further index tensors by name -> what they count ("atom", "edge", or a kind of the family's
    # own, which it adds to `counts`).
    index_kinds: Mapping[str, str] = MappingProxyType({})
    has_table: bool = False  # `site_energies` uses `EdgeBatch.slots`
    can_stack: bool = True  # `site_energies` can be mapped over stacked parameters

    @abstractmethod
    def site_energies(
        self, params: Params, vectors: Tensor, data: EdgeBatch
    ) -> tuple[Tensor, Tensor]:
        """Return the energy of each atom (eV, shape (N,)) and its invariant features (N, F).

        A pure function without in-place operations, so that `torch.func.vmap` can map it over
        stacked parameters.
        """

    def site_reference(self, data: EdgeBatch) -> Tensor | None:
        """Return energies of the isolated atoms (eV, float64, shape (N,)), or None."""
        return None

    def indices(self, pairs: Pairs) -> dict[str, np.ndarray]:
        """Return the further index arrays named in `index_kinds`."""
        if self.index_kinds is not UNDIRECTED:
            return {}
        bond, pair = pairs.undirected()
        return {"pair": pair, "bond": bond}

    def counts(self, graph: EdgeGraph) -> dict[str, int]:
        """Return by how much each kind of index is shifted behind this graph."""
        count = {"atom": len(graph.species), "edge": len(graph.center)}
        if "pair" in graph.index:  # see `UNDIRECTED`
            count["bond"] = len(graph.index["pair"])
        return count

    def graph(self, atoms: Atoms) -> EdgeGraph:
        """Build the graph of one configuration."""
        return self._assemble(atoms, find_candidates(atoms, self.cutoff))

    def updated_graph(self, graph: EdgeGraph | None, atoms: Atoms, skin: float = 0.5) -> EdgeGraph:
        """Return what `graph(atoms)` returns, bit by bit, without a search where possible.

        Parameters
        ----------
        graph
            Result of the previous call, or None.
        atoms
            New configuration.
        skin
            Margin in Å; the list is searched again when an atom moved more than half of it, or
            the cell changed.
        """
        old = None if graph is None else graph.candidates
        if old is None or old.skin < skin or not old.valid_for(atoms):
            old = find_candidates(atoms, self.cutoff, skin)
        return self._assemble(atoms, old)

    def _assemble(self, atoms: Atoms, candidates: Candidates) -> EdgeGraph:
        pairs = select_pairs(candidates, atoms, self.cutoff)
        index = {name: self._long(array) for name, array in self.indices(pairs).items()}
        rank = pairs.rank() if self.has_table else None
        return EdgeGraph(
            species=self._long(self._species(atoms)),
            center=self._long(pairs.center),
            neighbor=self._long(pairs.neighbor),
            vectors=torch.as_tensor(pairs.vectors).to(self.device, self.dtype),
            volume=float(atoms.get_volume()) if atoms.pbc.all() else float("nan"),
            index=index,
            candidates=candidates,
            rank=None if rank is None else self._long(rank),
            degree=0 if rank is None else int(rank.max(initial=-1)) + 1,
        )

    def _long(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.int64).to(self.device)

    def _species(self, atoms: Atoms) -> np.ndarray:
        place = {symbol: number for number, symbol in enumerate(self.elements)}
        unknown = sorted(set(atoms.symbols) - set(place))
        if unknown:
            raise ValueError(
                f"{self.name} was loaded without the element(s) {', '.join(unknown)}: load the "
                "foundation model again with all elements of the system"
            )
        return np.array([place[symbol] for symbol in atoms.symbols], dtype=np.int64)

    def collate(self, graphs: Sequence[EdgeGraph]) -> Batch:
        """Join graphs into one batch."""
        if not graphs:
            raise ValueError("cannot join an empty list of graphs")
        n_atoms = torch.tensor([len(g.species) for g in graphs], device=self.device)
        n_edges = torch.tensor([len(g.center) for g in graphs], device=self.device)
        volume = torch.tensor([g.volume for g in graphs], dtype=torch.float64, device=self.device)
        shifts: list[dict[str, int]] = []
        total: dict[str, int] = {}
        for g in graphs:
            shifts.append(dict(total))
            for kind, count in self.counts(g).items():
                total[kind] = total.get(kind, 0) + count

        def join(kind: str, tensors: list[Tensor]) -> Tensor:
            if len(tensors) == 1:
                return tensors[0]
            return torch.cat([t + s.get(kind, 0) for t, s in zip(tensors, shifts, strict=True)])

        which = torch.arange(len(graphs), device=self.device)
        species = torch.cat([g.species for g in graphs])
        center = join("atom", [g.center for g in graphs])
        slots = None
        if self.has_table:
            degree = max(g.degree for g in graphs)  # known on the host: no synchronisation
            rank = join("", [g.rank for g in graphs if g.rank is not None])
            slots = torch.full_like(species, len(center)).repeat_interleave(degree)
            slots[center * degree + rank] = torch.arange(len(center), device=self.device)
            slots = slots.view(len(species), degree)
        data = EdgeBatch(
            species=species,
            center=center,
            neighbor=join("atom", [g.neighbor for g in graphs]),
            vectors=torch.cat([g.vectors for g in graphs]),
            owner=torch.repeat_interleave(which, n_edges, output_size=len(center)),
            index={k: join(v, [g.index[k] for g in graphs]) for k, v in self.index_kinds.items()},
            slots=slots,
        )
        # Sizes are known here: without them a GPU would have to tell how long the result is.
        owner = torch.repeat_interleave(which, n_atoms, output_size=len(species))
        return Batch(n_atoms, owner, volume, data)

    def total_energy(self, site: Tensor, batch: Batch) -> Tensor:
        """Sum energies of atoms (..., N) and their references to float64 totals (..., B)."""
        reference = self.site_reference(batch.payload)
        site = site.double()
        if reference is not None:
            site = site + reference
        if len(batch.n_atoms) == 1:
            return site.sum(-1, keepdim=True)
        zero = site.new_zeros(*site.shape[:-1], len(batch.n_atoms))
        return zero.index_add(-1, batch.owner, site)

    def evaluate(
        self,
        params: Params,
        batch: Batch,
        *,
        forces: bool = True,
        stress: bool = False,
        training: bool = False,
    ) -> Prediction:
        """Evaluate energy, features and, by one reverse pass, forces and stress."""
        data: EdgeBatch = batch.payload
        derive = forces or stress
        with torch.set_grad_enabled(training or derive):
            vectors = data.vectors.detach().requires_grad_(derive)
            site, features = self.site_energies(params, vectors, data)
            energy = self.total_energy(site, batch)
            force = tension = None
            if derive:
                (gradient,) = torch.autograd.grad(
                    site.sum(), vectors, create_graph=training, materialize_grads=True
                )
                force, tension = derivatives(gradient, batch, forces=forces, stress=stress)
        if training:
            return Prediction(energy, force, tension, features)
        return Prediction(energy.detach(), force, tension, features.detach())
