"""A calculator that works a few times and then never again."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from onfly.settings import get_settings


class FlakyEMT(EMT):
    """EMT whose SCF, so to speak, converges ``n_good`` times in all processes together."""

    def __init__(self, n_good=2):
        super().__init__()
        self.n_good = n_good

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        counter = Path(get_settings().ARTIFACT_DIR) / "calls"
        counter.parent.mkdir(parents=True, exist_ok=True)
        calls = int(counter.read_text()) if counter.exists() else 0
        counter.write_text(str(calls + 1))
        if calls >= self.n_good:
            raise RuntimeError("no convergence")
        super().calculate(atoms, properties, system_changes)
