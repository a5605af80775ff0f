"""Draws from a posterior as force fields: each one gives a value of a property of its own.

A property is no sum over configurations whose variances are known, so its error bar is the spread
of its values over draws. Where the posterior samples members (SGHMC), they are the draws. Where it
has a Gaussian over the last layer, a draw is a member whose last layer is moved by a random w: the
energy plus w·Σf, with f the node features, and forces and stress that are its derivatives. Each
draw is a potential, so that it relaxes, oscillates and diffuses as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from onfly.bayes.heads import without_head
from onfly.dynamics.predictor import Predictor
from onfly.learning.slopes import feature_slopes
from onfly.library.energy_offset import EnergyOffset
from onfly.potentials import Params, Potential
from onfly.potentials.base import Batch
from onfly.potentials.edges import EdgePotential, derivatives

__all__ = ["PotentialCalculator", "posterior_draws"]


class PotentialCalculator(Calculator):
    """ASE calculator of a potential with given weights.

    Results are energy (eV), forces (eV/Å) and, for cells, stress (eV/Å³, tension positive).

    Parameters
    ----------
    potential, params
        Potential and weights.
    last_layer
        w, shape (F,): moves the energy by w·Σf; None leaves it.
    offset
        Foundation minus label energy; None gives energies on the foundation's scale.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from onfly.potentials import load_foundation
    >>> potential = load_foundation("toy", elements=["Cu"])
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.calc = PotentialCalculator(potential, potential.parameters())
    >>> atoms.get_forces().shape
    (4, 3)
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        params: Params,
        *,
        last_layer: Tensor | None = None,
        offset: EnergyOffset | None = None,
    ) -> None:
        super().__init__()
        self.potential = potential
        self.params = params
        self.last_layer = last_layer
        self.offset = offset
        self._graph: Any = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Evaluate a configuration; see `ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        present: Any = self.atoms
        self._graph = self.potential.updated_graph(self._graph, present)
        batch = self.potential.collate([self._graph])
        periodic = bool(present.pbc.all()) and self.potential.supports_stress
        if self.last_layer is None:
            found = self.potential.evaluate(self.params, batch, forces=True, stress=periodic)
            energy, forces, stress = found.energy, found.forces, found.stress
        else:
            energy, forces, stress = self._moved(batch, [present], periodic)
        shift = 0.0
        if self.offset is not None:
            shift = self.offset.of(Counter(present.get_chemical_symbols()))
        total = float(energy[0]) - shift
        assert forces is not None
        self.results = {
            "energy": total,
            "free_energy": total,
            "forces": forces.double().cpu().numpy(),
        }
        if periodic and stress is not None:
            tension = stress[0].double().cpu().numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(tension)

    def _moved(
        self, batch: Batch, atoms: Sequence[Atoms], stress: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return energy, forces and stress with the moved last layer."""
        potential, w = self.potential, self.last_layer
        assert w is not None
        if isinstance(potential, EdgePotential):  # all in one forward and one reverse pass
            data = batch.payload
            with torch.enable_grad():
                vectors = data.vectors.detach().requires_grad_()
                site, features = potential.site_energies(self.params, vectors, data)
                moved = site + features @ w.to(features)
                energy = potential.total_energy(moved, batch)
                (gradient,) = torch.autograd.grad(moved.sum(), vectors, materialize_grads=True)
            force, tension = derivatives(gradient, batch, forces=True, stress=stress)
            return energy.detach(), force, tension
        found = potential.evaluate(self.params, batch, forces=True, stress=stress)
        rows = w[None].to(found.features)
        force, tension = feature_slopes(
            potential, self.params, batch, rows, stress=stress, atoms=atoms
        )
        assert found.forces is not None
        energy = found.energy + (found.features.double().sum(0) @ w.to(found.features).double())
        total = None if found.stress is None or tension is None else found.stress + tension[0]
        return energy, found.forces + force[0], total


def posterior_draws(
    predictor: Predictor,
    count: int,
    *,
    seed_key: tuple[str | int, ...],
    offset: EnergyOffset | None = None,
) -> list[PotentialCalculator]:
    """Return draws from a posterior as calculators, uncalibrated.

    Parameters
    ----------
    predictor
        The posterior.
    count
        Number of draws. Of a posterior that samples members there are at most as many as members.
    seed_key
        Of the random stream.
    offset
        Of the energies.

    Returns
    -------
    list of PotentialCalculator
        Empty where the posterior has no spread: a single member before its first update.

    Raises
    ------
    ValueError
        If fewer than two draws are asked for: their spread is the error bar.

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> library = ModelLibrary.from_settings()
    >>> calculator = library.calculator(library.latest("CuAu").model_id)
    >>> len(posterior_draws(calculator.predictor, 4, seed_key=("draws",)))
    2
    """
    if count < 2:
        raise ValueError(f"{count} draws have no spread: ask for at least 2")
    members = [without_head(member) for member in predictor.state.members]
    moves = predictor.posterior.last_layer_draws(predictor.state, count, seed_key)
    if moves is None:
        found = [(member, None) for member in members[:count]] if len(members) > 1 else []
    else:
        found = [
            (members[k % len(members)], moves[k % len(members), k])  # type: ignore[misc]
            for k in range(count)
        ]
    return [
        PotentialCalculator(predictor.potential, member, last_layer=w, offset=offset)
        for member, w in found
    ]
