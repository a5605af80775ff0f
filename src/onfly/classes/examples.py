"""What a class model learns: configurations with energies, forces and stresses on one scale."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from onfly.classes.align import Alignment, align
from onfly.potentials import Params, Potential

__all__ = ["Example", "aligned", "predict", "replayed", "rms"]

# configurations evaluated together
BATCH = 16
# eV/Å: replayed forces far above it are kept to a part of their size, not to an absolute error
FORCE_SCALE = 1.0


@dataclass(frozen=True)
class Example:
    """One configuration.

    Parameters
    ----------
    atoms
        Species, positions, cell.
    energy
        eV; of a label before `aligned` on the labeller's scale, after it on the foundation's.
    forces
        eV/Å, shape (N, 3).
    stress
        eV/Å³, tension positive, shape (3, 3); None where there is none.
    compound
        Reduced formula; empty for replay.
    width
        Factor on the standard deviations of the likelihood.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    compound: str = ""
    width: float = 1.0

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each element."""
        return dict(Counter(self.atoms.get_chemical_symbols()))


def predict(
    potential: Potential, params: Params, configurations: Sequence[Atoms], *, stress: bool = False
) -> list[Example]:
    """Return the predictions of a potential with some parameters, in the given order."""
    found: list[Example] = []
    for begin in range(0, len(configurations), BATCH):
        part = configurations[begin : begin + BATCH]
        batch = potential.collate([potential.graph(atoms) for atoms in part])
        result = potential.evaluate(params, batch, forces=True, stress=stress)
        assert result.forces is not None
        forces = np.split(
            result.forces.detach().double().cpu().numpy(), np.cumsum([len(a) for a in part])[:-1]
        )
        tension = None if result.stress is None else result.stress.detach().double().cpu().numpy()
        for k, atoms in enumerate(part):
            known = tension is not None and bool(atoms.pbc.all())
            found.append(
                Example(
                    atoms,
                    float(result.energy[k]),
                    forces[k],
                    tension[k] if tension is not None and known else None,
                )
            )
    return found


def replayed(
    potential: Potential, params: Params, configurations: Sequence[Atoms]
) -> list[Example]:
    """Return configurations with the foundation's own predictions, to be kept.

    Large forces, as of two atoms at short distance, count by their relative error.
    """
    stress = potential.supports_stress and all(a.pbc.all() for a in configurations)
    found = predict(potential, params, configurations, stress=stress)
    return [
        replace(e, width=math.sqrt(1.0 + float(np.mean(e.forces**2)) / FORCE_SCALE**2))
        for e in found
    ]


def aligned(
    examples: Sequence[Example], foundation: Sequence[Example], ridge: float
) -> tuple[list[Example], Alignment]:
    """Return labels on the foundation's energy scale, and the shifts that were added.

    Parameters
    ----------
    examples
        Labels, energies on the labeller's scale.
    foundation
        The foundation's predictions for them.
    ridge
        See `align`.
    """
    counts = [e.counts for e in examples]
    compounds = [e.compound for e in examples]
    differences = [f.energy - e.energy for e, f in zip(examples, foundation, strict=True)]
    alignment = align(counts, compounds, differences, ridge)
    moved = [
        replace(e, energy=e.energy + alignment.of(cell, e.compound))
        for e, cell in zip(examples, counts, strict=True)
    ]
    return moved, alignment


def rms(values: Sequence[np.ndarray] | np.ndarray) -> float:
    """Return the root mean square of all numbers in some arrays; 0 of none."""
    flat = np.concatenate([np.ravel(v) for v in values]) if len(values) else np.zeros(0)
    return float(np.sqrt(np.mean(flat**2))) if flat.size else 0.0
