"""A stand-in for the VASP executable: ``python -m onfly.testing.vasp_standin``.

It reads INCAR, KPOINTS, POSCAR and POTCAR (or POTCAR.spec) and writes what custodian and emmet read
of VASP, with energies from an ASE calculator. It rehearses the plumbing (custodian, parsing, site
order, units, failures), not VASP's physics.

Settings come from a JSON file, named by ``--control`` or by the environment variable
``ONFLY_STANDIN_CONTROL``; without it, Lennard-Jones atoms and no faults:

- ``calculator``: dotted name of an ASE calculator class, ``keywords``: its arguments,
- ``fault``: name of a fault (see `FAULTS`) for every run,
- ``faults``: ``{"3": "killed"}``, faults by number of the run; runs are counted in a file beside
  the control file, and custodian's restarts count as runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.vasp import read_vasp
from ase.stress import voigt_6_to_full_3x3_stress

from onfly.testing.vasp_files import Results, write_outputs
from onfly.testing.vasp_inputs import InputError, is_true, read_incar, read_inputs

__all__ = ["FAULTS", "Control", "main"]

CONTROL_VARIABLE = "ONFLY_STANDIN_CONTROL"

FAULTS: dict[str, str] = {
    "unconverged": "the SCF does not converge with ALGO Fast or VeryFast",
    "stubborn": "the SCF converges only with slow mixing (AMIX <= 0.1)",
    "never": "the SCF never converges",
    "edddav": "the Davidson solver fails unless ALGO is All",
    "hard": "segmentation fault before anything is written",
    "killed": "SIGKILL in the middle of vasprun.xml",
    "empty": "vasprun.xml is empty",
    "truncated": "vasprun.xml breaks off",
    "hang": "does nothing, for ever",
    "atoms": "the last atom is missing from all outputs",
    "nan": "a force is NaN",
    "shaken": "the atoms are not where they were asked to be",
    "explosion": "a force is enormous",
}

# Binding energy added for each atom: pair potentials have positive energies, VASP has not.
_SHIFT = -5.0
# What smearing would add for each atom; tells e_fr_energy, e_0_energy and e_wo_entrp apart.
_ENTROPY = -0.002


@dataclass
class Control:
    """What a run is to do."""

    calculator: str = "ase.calculators.lj.LennardJones"
    keywords: dict[str, Any] = field(
        default_factory=lambda: {"sigma": 2.4, "epsilon": 0.1, "rc": 6.0, "smooth": True}
    )
    fault: str | None = None
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> Control:
        """Read the control file and count this run."""
        if path is None:
            return cls()
        control = cls(**json.loads(path.read_text()))
        counter = path.with_suffix(".runs")
        with open(counter, "a") as file:
            number = file.tell()
            file.write("x")
        control.fault = control.faults.get(str(number), control.fault)
        if control.fault is not None and control.fault not in FAULTS:
            raise InputError(f"unknown fault {control.fault!r}: use one of {', '.join(FAULTS)}")
        return control

    def build(self) -> Any:
        """Return the ASE calculator."""
        module, _, attribute = self.calculator.rpartition(".")
        return getattr(importlib.import_module(module), attribute)(**self.keywords)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _evaluate(atoms: Atoms, control: Control) -> Results:
    atoms.calc = control.build()
    energy = float(atoms.get_potential_energy()) + _SHIFT * len(atoms)
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    return Results(
        atoms=atoms,
        free_energy=energy,
        energy_without_entropy=energy - _ENTROPY * len(atoms),
        forces=atoms.get_forces(),
        stress=np.asarray(stress),
    )


def _scf_steps(incar: dict[str, str], fault: str | None, warm: bool) -> tuple[int, bool]:
    """Return the number of SCF steps, and whether they were enough."""
    limit = int(incar.get("NELM", "60"))
    algorithm = incar.get("ALGO", "Normal").lower()
    unconverged = (
        fault == "never"
        or (fault == "unconverged" and algorithm.startswith(("f", "v")))
        or (fault == "stubborn" and float(incar.get("AMIX", "0.4")) > 0.1)
    )
    wanted = 5 if warm else 12
    return (limit, False) if unconverged else (min(wanted, limit), wanted < limit)


def _fail_early(fault: str | None, incar: dict[str, str]) -> None:
    if fault == "hang":
        while True:
            time.sleep(1.0)
    if fault == "hard":
        sys.stderr.write("forrtl: severe (174): SIGSEGV, segmentation fault occurred\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "edddav" and not incar.get("ALGO", "Normal").lower().startswith("a"):
        _say(" Error EDDDAV: Call to ZHEGV failed. Returncode =  16 1  16")
        raise SystemExit(1)


def _spoil(results: Results, fault: str | None) -> None:
    if fault == "atoms":
        del results.atoms[-1]
        results.forces = results.forces[:-1]
    elif fault == "nan":
        results.forces[0, 0] = np.nan
    elif fault == "shaken":
        results.atoms.positions[0] += 0.3
    elif fault == "explosion":
        results.forces[0, 0] = 1e4


def _spoil_vasprun(fault: str | None) -> None:
    path = Path("vasprun.xml")
    if fault == "empty":
        path.write_text("")
    elif fault in ("truncated", "killed"):
        text = path.read_text()
        path.write_text(text[: int(0.6 * len(text))])
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str] | None = None) -> None:
    """Run once in the current directory."""
    parser = argparse.ArgumentParser(prog="vasp_std", description=__doc__)
    parser.add_argument("--control", type=Path, default=None)
    named = parser.parse_args(arguments).control or os.environ.get(CONTROL_VARIABLE)
    try:
        control = Control.load(None if named is None else Path(named))
        incar = read_incar(Path("INCAR"))
        _say(" running on    1 total cores\n vasp.6.4.2 stand-in of onfly, complex")
        _fail_early(control.fault, incar)
        atoms = read_vasp("POSCAR")
        inputs = read_inputs(Path.cwd(), atoms)
    except InputError as error:
        _say(f" ERROR: {error}")
        raise SystemExit(1) from error
    wavecar = Path("WAVECAR")
    found = wavecar.exists() and wavecar.stat().st_size > 0
    warm = found and incar.get("ISTART", "1") != "0"
    _say(" WAVECAR read" if warm else " initial wave functions are random")
    results = _evaluate(atoms, control)
    results.scf_steps, converged = _scf_steps(incar, control.fault, warm)
    _spoil(results, control.fault)
    write_outputs(Path.cwd(), inputs, results)
    if is_true(incar.get("LWAVE", "T")):
        wavecar.write_bytes(atoms.positions.tobytes())
    _spoil_vasprun(control.fault)
    if converged:
        _say(" reached required accuracy in the electronic minimisation")


if __name__ == "__main__":
    main()
