"""One single point with an ASE calculator, here or in a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from pymatgen.core import Molecule, Structure

from onfly.labels.dotted import calculator_class, check_keywords
from onfly.labels.errors import LabelError, plain_text, stops_the_run

__all__ = ["SinglePoint", "build_calculator", "run_here", "run_in_process", "to_atoms"]

_REQUEST, _RESULT, _LOG = "label_request.json", "label_result.json", "label_worker.log"


@dataclass(frozen=True)
class SinglePoint:
    """Results in eV, eV/Å and eV/Å³ (tension positive).

    Parameters
    ----------
    energy
        As the calculator reports it (extrapolated to zero smearing, where it smears).
    free_energy
        Force-consistent energy, or None if the calculator does not tell it.
    forces
        Shape (N, 3).
    stress
        Voigt order, shape (6,); None for molecules and calculators without it.
    elapsed
        Wall time in s.
    """

    energy: float
    free_energy: float | None
    forces: list[list[float]]
    stress: list[float] | None
    elapsed: float


def to_atoms(structure: Structure | Molecule) -> Atoms:
    """Return ASE atoms with charge and spin spread over them, in the structure's site order."""
    symbols = [getattr(s.specie, "symbol", str(s.specie)) for s in structure]
    atoms = Atoms(symbols, positions=structure.cart_coords)
    n_atoms = len(atoms)
    if isinstance(structure, Structure):
        atoms.set_cell(structure.lattice.matrix)
        atoms.set_pbc(structure.lattice.pbc)
    elif (structure.spin_multiplicity or 1) > 1:
        unpaired = (structure.spin_multiplicity - 1) / n_atoms
        atoms.set_initial_magnetic_moments(np.full(n_atoms, unpaired))
    moments = structure.site_properties.get("magmom")
    if moments is not None and all(m is not None for m in moments):
        atoms.set_initial_magnetic_moments([float(m) for m in moments])
    if charge := float(structure.charge or 0.0):
        atoms.set_initial_charges(np.full(n_atoms, charge / n_atoms))
    return atoms


def build_calculator(name: str, keywords: dict[str, Any]) -> Calculator:
    """Look up a calculator by its dotted name, check its keywords, and only then build it.

    Raises
    ------
    LabelError
        If it cannot be imported, is no ASE calculator, or does not accept the keywords.
    """
    try:
        factory = calculator_class(name)
        check_keywords(name, factory, keywords)
    except ValueError as error:
        raise LabelError(
            str(error), remedy="give the dotted name of an installed ASE calculator class"
        ) from error
    try:
        return factory(**keywords)
    except BaseException as error:
        if stops_the_run(error):
            raise
        raise LabelError(f"{name}(**{keywords}) failed: {_said(error)}") from error


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({plain_text(error.code)})"
    return f"{type(error).__name__}: {plain_text(error)}"


def run_here(atoms: Atoms, calculator: Calculator) -> SinglePoint:
    """Evaluate in this process.

    Raises
    ------
    LabelError
        If the calculator raises, for instance since its SCF did not converge.
    """
    start = time.perf_counter()
    directory = str(Path.cwd())
    atoms = atoms.copy()
    atoms.calc = calculator
    try:
        forces = atoms.get_forces()
        energy = atoms.get_potential_energy()
        try:
            free_energy = atoms.get_potential_energy(force_consistent=True)
        except (PropertyNotImplementedError, KeyError):
            free_energy = None
        stress = None
        if atoms.pbc.all() and "stress" in calculator.implemented_properties:
            stress = np.asarray(atoms.get_stress(voigt=True), dtype=float).tolist()
    except BaseException as error:  # also sys.exit of a calculator is one failed label
        if stops_the_run(error):
            raise
        raise LabelError(
            f"{type(calculator).__name__} failed: {_said(error)}",
            directory,
            "look for the cause in the directory; an SCF that does not converge wants other "
            "calculator_kwargs (more iterations, smaller mixing, higher electronic temperature)",
        ) from error
    return SinglePoint(
        energy=float(energy),
        free_energy=None if free_energy is None else float(free_energy),
        forces=np.asarray(forces, dtype=float).tolist(),
        stress=stress,
        elapsed=time.perf_counter() - start,
    )


def run_in_process(
    atoms: Atoms, name: str, keywords: dict[str, Any], time_limit: float | None
) -> SinglePoint:
    """Evaluate in a process of its own, which is killed with its children after a time limit.

    Parameters
    ----------
    atoms
        Configuration.
    name, keywords
        Dotted name of the calculator and its (JSON serialisable) keyword arguments.
    time_limit
        In s; None waits for ever, but still survives a crash of the calculator.

    Raises
    ------
    LabelError
        If the calculator raises, crashes, or exceeds the time limit.
    """
    directory = Path.cwd()
    request, result = directory / _REQUEST, directory / _RESULT
    result.unlink(missing_ok=True)
    request.write_text(
        json.dumps(
            {
                "calculator": name,
                "keywords": keywords,
                "symbols": atoms.get_chemical_symbols(),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.tolist(),
                "pbc": atoms.pbc.tolist(),
                "charges": atoms.get_initial_charges().tolist(),
                "moments": atoms.get_initial_magnetic_moments().tolist(),
            }
        )
    )
    command = [sys.executable, "-m", "onfly.labels.single_point", str(request), str(result)]
    with open(directory / _LOG, "wb") as log:
        # a session of its own, so that what the calculator starts (mpirun …) dies with it
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            code = process.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise LabelError(
                f"{name} exceeded its time limit of {time_limit:g} s and was killed",
                str(directory),
                "raise time_limit, or choose cheaper calculator_kwargs",
            ) from None
        finally:
            _kill_session(process)
    if not result.exists():
        tail = plain_text((directory / _LOG).read_bytes()[-500:].decode("utf-8", "replace"))
        raise LabelError(f"{name} crashed with exit code {code}: {tail.strip()}", str(directory))
    try:
        answer = json.loads(result.read_text())
        if "reason" not in answer:
            return SinglePoint(**answer)
    except (TypeError, ValueError) as error:
        raise LabelError(f"{result.name} of {name} is damaged: {error}", str(directory)) from error
    raise LabelError(answer["reason"], str(directory), answer.get("remedy"))


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        process.wait()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    atoms = Atoms(
        request["symbols"],
        positions=request["positions"],
        cell=request["cell"],
        pbc=request["pbc"],
        charges=request["charges"],
        magmoms=request["moments"],
    )
    try:
        point = run_here(atoms, build_calculator(request["calculator"], request["keywords"]))
    except LabelError as error:
        return {"reason": error.reason, "remedy": error.remedy}
    except KeyboardInterrupt:
        # nobody sits at the keyboard of this process: the calculator raised it
        return {"reason": f"{request['calculator']} failed: KeyboardInterrupt", "remedy": None}
    return vars(point)


def main(request: str, result: str) -> None:
    """Answer a request file; the result appears whole or not at all."""
    answer = _answer(json.loads(Path(request).read_text()))
    partial = Path(result).with_suffix(".partial")
    partial.write_text(json.dumps(answer))
    partial.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
