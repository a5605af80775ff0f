"""A crystal whose properties are known: fcc with Morse pairs between nearest neighbours."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.data import atomic_masses

EPSILON, R0, RHO0 = 0.4, 2.6, 5.0


@dataclass(frozen=True)
class Crystal:
    """Nearest-neighbour springs k at their rest length, in an fcc crystal of constant a.

    With the sums over the 12 neighbours done by hand: E = -6 ε, B = 4k/(3a), C11 = 2k/a,
    C12 = C44 = k/a, and at X the frequencies ω² = 8k/M (longitudinal) and 4k/M (transverse).
    """

    epsilon: float = EPSILON
    r0: float = R0
    rho0: float = RHO0

    @property
    def a(self) -> float:
        return math.sqrt(2.0) * self.r0

    @property
    def k(self) -> float:
        return 2.0 * self.epsilon * self.rho0**2 / self.r0**2

    @property
    def calculator(self) -> MorsePotential:
        # cut off between first and second neighbours
        return MorsePotential(
            epsilon=self.epsilon, r0=self.r0, rho0=self.rho0, rcut1=1.2, rcut2=1.3
        )

    @property
    def atoms(self) -> Atoms:
        return bulk("Cu", a=self.a)

    def frequency(self, springs: float) -> float:
        """Return sqrt(springs * k / M) in THz."""
        # eV/Å²/u in rad²/s²: 1.602e-19 / 1e-20 / 1.66054e-27
        omega = math.sqrt(springs * self.k / atomic_masses[29] * 9.64853321e27)
        return omega / (2.0 * math.pi) / 1e12


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("ONFLY_", "JOBFLOW_"))]:
        if name != "ONFLY_TEST_MONGO_URI":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def crystal():
    return Crystal()
