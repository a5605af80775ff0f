"""ASE calculator for molecules with PySCF: density-fitted Kohn-Sham energies and forces.

The calculator that ships with PySCF is tied to one molecule object and goes on after an SCF that
did not converge; this one takes any composition and raises.
"""

from __future__ import annotations

from types import SimpleNamespace

import ase.units
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError, all_changes

__all__ = ["PySCF"]


class PySCF(Calculator):
    """Kohn-Sham DFT of a molecule.

    Parameters
    ----------
    xc
        Functional, as PySCF names it. ``"b3lyp"`` is Gaussian's B3LYP (VWN-RPA form).
    basis
        Basis set, as PySCF names it.
    charge
        Total charge; None takes the sum of the initial charges of the atoms.
    spin
        Number of unpaired electrons; None takes the sum of the initial magnetic moments.
    grid
        Level of the integration grid, 0 (coarse) to 9.
    density_fit
        Use density fitting for Coulomb and exchange integrals.
    conv_tol
        Convergence threshold of the energy in Hartree.
    max_cycle
        Largest number of SCF cycles. After these a second-order solver tries once.
    dispersion
        ``"d3bj"``, ``"d4"`` … (needs pyscf-dispersion), or None.

    Notes
    -----
    The moving integration grid makes net forces of the order of 1 meV/Å at level 2.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012
    default_parameters = {  # noqa: RUF012
        "xc": "b3lyp",
        "basis": "def2-svp",
        "charge": None,
        "spin": None,
        "grid": 2,
        "density_fit": True,
        "conv_tol": 1e-9,
        "max_cycle": 100,
        "dispersion": None,
    }

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy (eV) and forces (eV/Å).

        Raises
        ------
        ase.calculators.calculator.SCFError
            If the SCF does not converge, also not with the second-order solver.
        """
        from pyscf import dft, gto

        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        atoms, p = self.atoms, SimpleNamespace(**self.parameters)
        if atoms.pbc.any():
            raise ValueError("onfly's PySCF calculator is for molecules: use GPAW for crystals")
        charge = p.charge if p.charge is not None else atoms.get_initial_charges().sum()
        spin = p.spin if p.spin is not None else atoms.get_initial_magnetic_moments().sum()
        mol = gto.M(
            atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)),
            unit="Angstrom",
            basis=p.basis,
            charge=round(float(charge)),
            spin=round(float(spin)),
            verbose=0,
        )
        solver = (dft.RKS if mol.spin == 0 else dft.UKS)(mol, xc=p.xc)
        if p.density_fit:
            solver = solver.density_fit()
        if p.dispersion:
            solver.disp = p.dispersion
        solver.grids.level = p.grid
        solver.conv_tol = p.conv_tol
        solver.max_cycle = p.max_cycle
        energy = solver.kernel()
        if not solver.converged:
            density = solver.make_rdm1()
            solver = solver.newton()
            energy = solver.kernel(dm0=density)
        if not solver.converged:
            raise SCFError(f"PySCF: SCF not converged after {p.max_cycle} cycles")
        gradient = solver.nuc_grad_method().kernel()
        energy = float(energy) * ase.units.Hartree
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": -gradient * ase.units.Hartree / ase.units.Bohr,
        }
