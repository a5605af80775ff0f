"""An ASE calculator of one's own, in a module of its own: label jobs import it by its name."""

from __future__ import annotations

from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.calculators.emt import EMT


class CompressedEMT(Calculator):
    """EMT on a lattice that is scaled by a factor: another energy surface, with exact forces.

    What a labeller must do: give energy, forces and, for cells, the stress, all of one surface;
    and raise an exception when it has not converged.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/Å) and stress (eV/Å³, Voigt)."""
        super().calculate(atoms, properties, system_changes)
        scaled = self.atoms.copy()
        scaled.set_cell(self.factor * scaled.cell, scale_atoms=True)
        scaled.calc = EMT()
        energy = scaled.get_potential_energy()
        if energy > 100.0:
            raise SCFError(f"no convergence: {energy} eV")
        self.results = {
            "energy": energy,
            "forces": self.factor * scaled.get_forces(),
            "stress": self.factor**3 * scaled.get_stress(),
        }
