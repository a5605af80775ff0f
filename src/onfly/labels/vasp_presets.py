"""Levels of theory for VASP labels, matched to the data the foundation models were trained on."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Structure
from pymatgen.io.vasp import Kpoints
from pymatgen.io.vasp.sets import MatPESStaticSet, MPRelaxSet

__all__ = ["VASP_PRESETS", "VaspPreset"]

# Single points for a potential: no symmetry (snapshots have none, and a symmetry found by chance
# changes the k-points between frames), forces and stress, a tight SCF, and the wave function kept
# for the next label. LREAL stays off: projection in real space costs accuracy of the forces.
_SNAPSHOT: dict[str, Any] = {
    "ISYM": 0,
    "ISIF": 2,
    "IBRION": -1,
    "NSW": 0,
    "PREC": "Accurate",
    "LREAL": False,
    "LASPH": True,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "ALGO": "Normal",
    "EDIFF": 1e-6,
    "NELM": 200,
    "NELMIN": 5,
    "LWAVE": True,
    "LCHARG": False,
    "LAECHG": False,
    "LVTOT": False,
    "LORBIT": 11,
}


@dataclass(frozen=True)
class VaspPreset:
    """One level of theory.

    Parameters
    ----------
    description
        What it is, and which foundation models it fits.
    config
        Configuration of pymatgen's input set with POTCARs, moments and U values.
    incar
        Tags on top of those for snapshots.
    kspacing
        Largest distance of k-points in 1/Å, as VASP's KSPACING; None takes `density`.
    density
        k-points per reciprocal volume, as pymatgen's ``reciprocal_density``.

    Examples
    --------
    >>> VASP_PRESETS["mp-pbe-u"].description
    'PBE+U of the Materials Project (MPtrj): MACE-MP-0, CHGNet, SevenNet-0'
    """

    description: str
    config: dict[str, Any]
    incar: dict[str, Any] = field(default_factory=dict)
    kspacing: float | None = None
    density: int = 64

    def incar_updates(self) -> dict[str, Any]:
        """Return the tags set for each snapshot; a user's settings go before them."""
        return _SNAPSHOT | self.incar

    def mesh(self, structure: Structure) -> tuple[int, int, int]:
        """Return the Γ-centred mesh for a cell."""
        if self.kspacing is not None:
            lengths = structure.lattice.reciprocal_lattice.abc
            # the small margin keeps rounding in the cell from adding a k-point
            n = [max(1, math.ceil(length / self.kspacing - 1e-6)) for length in lengths]
        else:
            kpoints = Kpoints.automatic_density_by_vol(structure, self.density, force_gamma=True)
            n = [int(k) for k in kpoints.kpts[0]]
        return n[0], n[1], n[2]


def _config(source: dict[str, Any], *, with_u: bool = False) -> dict[str, Any]:
    """Return a set's configuration without what drifts along a run or scales with its size."""
    config = deepcopy(source)
    for tag in ("KSPACING", "EDIFF_PER_ATOM", "EDIFF", "ISMEAR", "SIGMA"):
        config["INCAR"].pop(tag, None)
    if not with_u:
        config["INCAR"] = {k: v for k, v in config["INCAR"].items() if not k.startswith("LDAU")}
    return config


_MP_U = _config(MPRelaxSet.CONFIG, with_u=True)
_MP = _config(MPRelaxSet.CONFIG)
_MATPES = _config(MatPESStaticSet.CONFIG) | {"POTCAR_FUNCTIONAL": "PBE_64"}
_EXACT_EXCHANGE: dict[str, Any] = {"LHFCALC": True, "PRECFOCK": "Normal", "ALGO": "All"}

VASP_PRESETS: dict[str, VaspPreset] = {
    "mp-pbe-u": VaspPreset(
        "PBE+U of the Materials Project (MPtrj): MACE-MP-0, CHGNet, SevenNet-0", _MP_U
    ),
    "pbe": VaspPreset("PBE with the pseudopotentials of MPtrj, no U, no dispersion", _MP),
    "r2scan": VaspPreset(
        "r2SCAN of MatPES: MatPES-r2SCAN models",
        _MATPES,
        {"METAGGA": "R2SCAN", "GGA": None, "ALGO": "All", "LMIXTAU": True, "ENCUT": 680},
        kspacing=0.22,
    ),
    "matpes-pbe": VaspPreset(
        "PBE of MatPES: MatPES-PBE models", _MATPES, {"GGA": "PE", "ENCUT": 680}, 0.22
    ),
    "b3lyp": VaspPreset(
        "B3LYP: molecules in a box, models trained on SPICE",
        _MP,
        {"GGA": "B3", "AEXX": 0.2, "AGGAX": 0.72, "AGGAC": 0.81, "ALDAC": 0.19} | _EXACT_EXCHANGE,
    ),
    "hse06": VaspPreset("HSE06", _MP, {"HFSCREEN": 0.2, "AEXX": 0.25} | _EXACT_EXCHANGE),
}
