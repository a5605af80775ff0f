"""Equation of state: volume, energy and bulk modulus at zero pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.eos import EquationOfState

from onfly.properties.measured import Measured, Scale
from onfly.properties.relax import relaxed
from onfly.units import GPA

__all__ = ["EquationOfStateFit"]


@dataclass(frozen=True)
class EquationOfStateFit:
    """V0, E0 and B0 by the third-order Birch-Murnaghan equation (`ase.eos.EquationOfState`).

    The shape of the cell stays, positions relax at each volume.

    Parameters
    ----------
    span
        Volumes reach from 1 - span to 1 + span of that of the relaxed cell.
    n_volumes
        Number of volumes.
    fmax
        Of the relaxations, eV/Å.

    Raises
    ------
    ValueError
        If there are fewer than five volumes, or the span is not between 0 and 0.3.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> fit = EquationOfStateFit()
    >>> found = fit.measure(EMT(), bulk("Cu", a=3.59))
    >>> round(found.values["B0"]), fit.unit("B0")
    (134, 'GPa')
    """

    span: float = 0.06
    n_volumes: int = 7
    fmax: float = 1e-3

    kind: ClassVar[str] = "eos"
    scale: ClassVar[Scale] = "stress"

    def __post_init__(self) -> None:
        if self.n_volumes < 5:
            raise ValueError(f"{self.n_volumes} volumes are too few for a fit: give at least 5")
        if not 0.0 < self.span < 0.3:
            raise ValueError(f"a span of {self.span} is not between 0 and 0.3")

    def unit(self, name: str) -> str:
        """Return the unit of a value."""
        return {"V0": "Å³/atom", "E0": "eV/atom", "B0": "GPa"}[name]

    def measure(self, calculator: Calculator, cell: Atoms) -> Measured:
        """Return V0 (Å³/atom), E0 (eV/atom), B0 (GPa), and the points of the fit.

        Raises
        ------
        ValueError
            If the energy has no minimum among the volumes.
        RuntimeError
            If the fit does not converge.
        """
        n_atoms = len(cell)
        shares = np.linspace(1.0 - self.span, 1.0 + self.span, self.n_volumes)
        volumes, energies = cell.get_volume() * shares, []
        for share in shares:
            atoms = cell.copy()
            atoms.set_cell(cell.cell.array * share ** (1.0 / 3.0), scale_atoms=True)
            found = relaxed(atoms, calculator, fmax=self.fmax, cell=False)
            energies.append(found.get_potential_energy())
        if int(np.argmin(energies)) in (0, len(energies) - 1):
            raise ValueError("the minimum of the energy lies outside the volumes of the fit")
        v0, e0, b0 = EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)
        return Measured(
            {"V0": float(v0) / n_atoms, "E0": float(e0) / n_atoms, "B0": float(b0) / GPA},
            {"volume": volumes / n_atoms, "energy": np.array(energies) / n_atoms},
        )
