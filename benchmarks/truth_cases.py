"""Systems whose truth is known at every step: a student, and a teacher that labels it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from onfly.units import EV_PER_KCAL_MOL

__all__ = ["CASES", "Case", "chain", "model_path"]

WORKFLOWS = Path(__file__).parents[1] / "workflows"
SPICE, COUPLED_CLUSTER = "MACE_SPICE_converted.model", "ani500k_small_CC.model"
CHGNET, R2SCAN = "chgnet-0.3.0", "chgnet-r2scan"
EMT = "ase.calculators.emt.EMT"


@dataclass(frozen=True)
class Case:
    """One system.

    Parameters
    ----------
    name
        On the command line.
    atoms
        Makes the configuration that the run starts from, displaced at random by a seed.
    student, teacher
        Foundation that is tuned, and what labels: names of foundations, file names in the folder
        of ``--models``, or the dotted name of an ASE calculator as teacher.
    threshold
        Energy tolerance of the cell in eV, chosen so that the untuned student fails it.
    stages
        Temperature (K) and share of the MD steps.
    n_steps
        MD steps over all trajectories.
    time_step
        fs.
    extra
        Flat keys of `RunSpec` that belong to the system.
    """

    name: str
    atoms: Callable[[int], Atoms]
    student: str
    teacher: str
    threshold: float
    stages: tuple[tuple[float, float], ...]
    n_steps: int
    time_step: float
    extra: tuple[tuple[str, Any], ...] = ()

    def programme(self, n_steps: int) -> list[dict[str, Any]]:
        """Return the stages in `n_steps` steps."""
        total = sum(share for _, share in self.stages)
        return [
            {"n_steps": max(round(n_steps * share / total), 1), "temperature": temperature}
            for temperature, share in self.stages
        ]

    def needs_models(self) -> bool:
        """Whether student or teacher is a file of ``--models``."""
        return any(name.endswith(".model") for name in (self.student, self.teacher))


def model_path(source: str, models: str | Path | None) -> str:
    """Return a model's name, or its path in the folder of ``--models``."""
    return str(Path(models or "") / source) if source.endswith(".model") else source


def chain(heavy: str) -> Atoms:
    """Return an extended chain of C and O atoms, saturated with hydrogen, such as ``"OCCOCCO"``.

    Bonds are 1.47 Å and 1.05 Å long, angles tetrahedral: a start for MD, not a minimum.
    """
    half = np.arccos(-1 / 3) / 2
    along, across = 1.47 * np.sin(half), 1.47 * np.cos(half)
    n = len(heavy)
    places = np.array([[i * along, (i % 2) * across, 0.0] for i in range(n)])
    symbols, positions = list(heavy), list(places)
    for i, symbol in enumerate(heavy):
        up = 1.0 if i % 2 else -1.0
        free = [np.array([0.0, up * np.cos(half), z * np.sin(half)]) for z in (1, -1)]
        ends = [
            np.array([x * np.sin(half), -up * np.cos(half), 0.0])
            for x, end in ((-1, i == 0), (1, i == n - 1))
            if end
        ]
        n_hydrogen = {"C": 2, "O": 0}[symbol] + len(ends)
        for direction in [*ends, *free][:n_hydrogen]:
            symbols.append("H")
            positions.append(places[i] + 1.05 * direction)
    return Atoms(symbols, positions=np.array(positions))


def _shaken(make: Callable[[], Atoms], amount: float = 0.02) -> Callable[[int], Atoms]:
    """Return a maker of displaced configurations, without anything but atoms and cell."""

    def displaced(seed: int) -> Atoms:
        found = make()
        atoms = Atoms(found.numbers, found.positions, cell=found.cell.array, pbc=found.pbc)
        atoms.rattle(amount, seed=seed)
        return atoms

    return displaced


def acetylacetone(path: Path) -> Callable[[int], Atoms]:
    """Return a maker of acetylacetone from a file of configurations."""

    def first() -> Atoms:
        found = ase.io.read(path, "0")
        assert isinstance(found, Atoms)
        return Atoms(found.numbers, found.positions)

    return _shaken(first)


def _vasp(name: str) -> Callable[[], Atoms]:
    def read() -> Atoms:
        found = ase.io.read(WORKFLOWS / name)
        assert isinstance(found, Atoms)
        return found

    return read


def _molecule(
    name: str, make: Callable[[], Atoms], kelvin: float, kcal: float, n_steps: int = 1000
) -> Case:
    return Case(
        name,
        _shaken(make),
        SPICE,
        COUPLED_CLUSTER,
        kcal * EV_PER_KCAL_MOL,
        ((kelvin, 1.0),),
        n_steps,
        0.5,
    )


def _crystal(
    name: str,
    make: Callable[[], Atoms],
    stages: tuple[tuple[float, float], ...],
    threshold: float,
    time_step: float = 2.0,
    n_steps: int = 1000,
    **extra: Any,
) -> Case:
    return Case(
        name,
        _shaken(make),
        CHGNET,
        R2SCAN,
        threshold,
        stages,
        n_steps,
        time_step,
        tuple(extra.items()),
    )


_ALL = (
    Case(
        "toy",
        _shaken(lambda: bulk("Cu", cubic=True)),
        "toy",
        EMT,
        0.03,
        ((300.0, 1.0),),
        60,
        2.0,
        (("posterior", {"kind": "last_layer", "n_steps": 20}),),
    ),
    _molecule("ethanol", lambda: molecule("CH3CH2OH"), 500.0, 0.4),
    # the paper's molecule at its temperature, threshold and length
    _molecule("ethanol-300", lambda: molecule("CH3CH2OH"), 300.0, 0.5, n_steps=20_000),
    _molecule("butane", lambda: molecule("trans-butane"), 500.0, 0.5),
    _molecule("pyridine", lambda: molecule("C5H5N"), 500.0, 0.5),
    _molecule("glycol", lambda: chain("OCCOCCO"), 600.0, 1.0),
    _crystal("nacl", lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True), ((600.0, 1.0),), 0.02),
    _crystal(
        "nacl-hot",
        lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        ((1200.0, 1.0),),
        0.04,
    ),
    _crystal("mgo", lambda: bulk("MgO", "rocksalt", a=4.21, cubic=True), ((600.0, 1.0),), 0.02),
    _crystal("si", lambda: bulk("Si", cubic=True), ((600.0, 1.0),), 0.02),
    _crystal(
        "lamno3",
        _vasp("lamno3/LaMnO3_20.vasp"),
        ((300.0, 1.0), (800.0, 2.0), (300.0, 1.0)),
        0.1,
        calibration_mode="ema",
    ),
    _crystal(
        "cazrs3-h",
        _vasp("cazrs3_h/CaZrS3_20_H.vasp"),
        ((1500.0, 1.0),),
        5 * EV_PER_KCAL_MOL,
        time_step=1.0,
        n_steps=600,
    ),
    # the paper's two crystals at its size: stages of 3 ps
    _crystal(
        "lamno3-160",
        _vasp("lamno3/LaMnO3_160.vasp"),
        ((300.0, 1.0), (800.0, 1.0), (300.0, 1.0)),
        5 * EV_PER_KCAL_MOL,
        n_steps=4500,
        calibration_mode="ema",
    ),
    _crystal(
        "cazrs3-2h",
        _vasp("cazrs3_h/CaZrS3_160_2H.vasp"),
        ((1500.0, 1.0),),
        5 * EV_PER_KCAL_MOL,
        time_step=1.5,
        n_steps=2000,
    ),
)  # fmt: skip
CASES: dict[str, Case] = {case.name: case for case in _ALL}
