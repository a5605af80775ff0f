"""Phonon frequencies by finite displacements (phonopy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from onfly.properties.measured import Measured, Scale, check_positive
from onfly.properties.relax import supercell_size

__all__ = ["Phonons"]

SYMPREC = 1e-3
MAX_DISPLACEMENTS = 300
GAMMA = "Γ"


@dataclass(frozen=True)
class Phonons:
    """Lowest and highest frequency at the special points, their mean, and the bands.

    Without the correction of polar crystals for long wavelengths: the highest frequency at Γ is
    the transverse one. Imaginary frequencies are negative numbers.

    Parameters
    ----------
    min_length
        Shortest vector of the supercell, Å.
    displacement
        Å.
    n_points
        Points of the path through the special points.

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    >>> Phonons(min_length=10.0).displacement
    0.01
    """

    min_length: float = 8.0
    displacement: float = 0.01
    n_points: int = 60

    kind: ClassVar[str] = "phonon"
    scale: ClassVar[Scale] = "forces"

    def __post_init__(self) -> None:
        check_positive(self, "min_length", "displacement", "n_points")

    def unit(self, name: str) -> str:
        """Return the unit of a value."""
        return "THz"

    def measure(self, calculator: Calculator, cell: Atoms) -> Measured:
        """Return frequencies in THz, and the bands along the path.

        Raises
        ------
        ImportError
            If phonopy is not installed.
        ValueError
            If the crystal needs more than 300 displacements.
        """
        phonon = self._force_constants(calculator, cell)
        # documents of large cells stay small: all bands together have some thousand points
        n_points = min(self.n_points, max(20, 2400 // (3 * len(cell))))
        path = cell.cell.bandpath(npoints=n_points)
        values: dict[str, float] = {}
        rotations = phonon.primitive_symmetry.reciprocal_operations
        seen: list[np.ndarray] = []
        for name, point in sorted(path.special_points.items()):
            if any(_equivalent(point, other, rotations) for other in seen):
                continue  # as K and U of an fcc lattice
            seen.append(point)
            found = np.sort(phonon.run_qpoints([point]).frequencies[0])
            if name == "G":
                if len(cell) > 1:
                    values[f"{GAMMA} highest"] = float(found[-1])
                continue
            values[f"{name} lowest"] = float(found[0])
            values[f"{name} highest"] = float(found[-1])
        mesh = phonon.run_mesh(20.0)
        mesh_values = np.asarray(mesh.frequencies)
        values["mean"] = float(np.average(mesh_values.mean(1), weights=mesh.weights))
        bands = np.sort(phonon.run_qpoints(path.kpts).frequencies, axis=1)
        position, ticks, _ = path.get_linear_kpoint_axis()
        return Measured(
            values, {"path": position, "ticks": np.asarray(ticks), "bands": np.asarray(bands)}
        )

    def _force_constants(self, calculator: Calculator, cell: Atoms) -> Any:
        try:
            from phonopy import Phonopy
            from phonopy.structure.atoms import PhonopyAtoms
        except ImportError as error:
            raise ImportError("phonons need phonopy: pip install 'onfly[properties]'") from error
        unit = PhonopyAtoms(
            symbols=cell.get_chemical_symbols(),
            scaled_positions=cell.get_scaled_positions(),
            cell=cell.cell.array,
        )
        size = supercell_size(cell, self.min_length)
        phonon = Phonopy(
            unit,
            supercell_matrix=np.diag(size),
            primitive_matrix=np.eye(3),
            symprec=SYMPREC,
            log_level=0,
        )
        phonon.generate_displacements(distance=self.displacement)
        displaced = phonon.supercells_with_displacements or []
        if len(displaced) > MAX_DISPLACEMENTS:
            raise ValueError(
                f"phonons of {cell.get_chemical_formula()} need {len(displaced)} displacements: "
                "the structure has too little symmetry; give an ideal one as the structure"
            )
        forces = []
        for one in displaced:
            atoms = Atoms(one.symbols, positions=one.positions, cell=one.cell, pbc=True)
            atoms.calc = calculator
            forces.append(atoms.get_forces())
        phonon.forces = forces
        phonon.produce_force_constants()
        phonon.symmetrize_force_constants()
        return phonon


def _equivalent(point: np.ndarray, other: np.ndarray, rotations: np.ndarray) -> bool:
    """Return whether a rotation takes a point of the Brillouin zone to another one."""
    difference = np.asarray(rotations) @ point - other
    return bool((np.abs(difference - np.round(difference)).max(axis=-1) < 1e-4).any())
