"""Elastic constants from stresses of strained cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from atomate2.common.schemas.elastic import ElasticDocument
from pymatgen.analysis.elasticity import Strain, Stress
from pymatgen.core.tensors import symmetry_reduce
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from onfly.properties.measured import Measured, Scale
from onfly.properties.relax import relaxed
from onfly.units import KBAR

__all__ = ["Elastic"]

# cells are kept symmetric while they relax
SYMPREC = 1e-3
# constants that are independent, or shown as if they were, in the IEEE setting
_CONSTANTS = {
    "cubic": "11 12 44",
    "hexagonal": "11 12 13 33 44",
    "trigonal": "11 12 13 14 33 44",
    "tetragonal": "11 12 13 33 44 66",
}
_GENERAL = "11 22 33 12 13 23 44 55 66"


@dataclass(frozen=True)
class Elastic:
    """Elastic constants and the averages of Voigt, Reuss and Hill.

    As in atomate2's elastic workflow: strains that are not equivalent by symmetry, relaxed
    positions, second Piola-Kirchhoff stresses, and pymatgen's fit.

    Parameters
    ----------
    strain
        Largest strain (Voigt); half of it is taken too, both ways.
    fmax
        Of the relaxations, eV/Å.

    Raises
    ------
    ValueError
        If the strain is not between 0.002 and 0.1.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> found = Elastic().measure(EMT(), bulk("Cu", a=3.59))
    >>> {name: round(value) for name, value in found.values.items()}["K_VRH"]
    134
    """

    strain: float = 0.01
    fmax: float = 1e-3

    kind: ClassVar[str] = "elastic"
    scale: ClassVar[Scale] = "stress"

    def __post_init__(self) -> None:
        if not 0.002 <= self.strain <= 0.1:
            raise ValueError(f"a strain of {self.strain} is not between 0.002 and 0.1")

    def unit(self, name: str) -> str:
        """Return the unit of a value."""
        return "GPa"

    def measure(self, calculator: Calculator, cell: Atoms) -> Measured:
        """Return the constants of the crystal system, and bulk and shear modulus, in GPa."""
        structure = AseAtomsAdaptor.get_structure(
            Atoms(cell.numbers, cell.positions, cell=cell.cell.array, pbc=True)
        )
        sizes = self.strain * np.array([-1.0, -0.5, 0.5, 1.0])
        strains = [Strain.from_voigt(size * state) for state in np.eye(6) for size in sizes]
        chosen = list(symmetry_reduce(strains, structure, symprec=SYMPREC))
        deformations = [strain.get_deformation_matrix() for strain in chosen]
        stresses = []
        for deformation in deformations:
            atoms = cell.copy()
            atoms.set_cell(cell.cell.array @ np.array(deformation).T, scale_atoms=True)
            found = relaxed(atoms, calculator, fmax=self.fmax, cell=False)
            stresses.append(Stress(-found.get_stress(voigt=False) / KBAR))
        names = [str(index) for index in range(len(chosen))]
        doc = ElasticDocument.from_stresses(
            structure, stresses, deformations, names, names,
            fitting_method="finite_difference", order=2, symprec=SYMPREC,
        )  # fmt: skip
        assert doc.elastic_tensor is not None
        tensor = np.array(doc.elastic_tensor.ieee_format)
        system = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_crystal_system()
        values = {}
        for pair in _CONSTANTS.get(system, _GENERAL).split():
            i, j = (int(digit) - 1 for digit in pair)
            values[f"C{pair}"] = float(tensor[i, j])
        averages = doc.derived_properties
        for name in ("k_vrh", "g_vrh"):
            value = getattr(averages, name, None)
            if value is not None:  # as where the crystal is unstable
                values[name.upper()] = float(value)
        return Measured(values, {"tensor": tensor})
