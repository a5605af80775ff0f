"""What would keep a labeller from labelling a structure, found without running anything."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from atomate2.ase.jobs import AseMaker, AseRelaxMaker
from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Maker
from pymatgen.core import Molecule, Structure

from onfly.labels.ase import AseLabelMaker
from onfly.labels.dotted import calculator_class, check_keywords
from onfly.labels.vasp_inputs import incar_problems, mesh_problems
from onfly.structures import StructureError, check_structure

__all__ = ["check_labeller"]

# task documents without energy, forces and structure of a single point that could be read
_UNREADABLE = ("qchem", "jdftx", "torchsim", "openmm", "lobster", "lammps")
# jobs of atomate2's other codes that move the atoms
_MOVING = ("RelaxMaker", "TightRelaxMaker", "CellOptMaker", "MDMaker", "TransmuterMaker")
_COMMANDS = {"cp2k": "CP2K_CMD", "aims": "AIMS_CMD", "abinit": "ABINIT_CMD"}
_LAST_ELEMENT_OF_XTB = 86
_XTB = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")


def check_labeller(
    maker: Any,
    structure: Structure | Molecule,
    *,
    here: bool = True,
    max_atoms: int | None = None,
) -> list[str]:
    """Return what would keep a labeller from labelling a structure.

    Nothing is run or written: classes are looked up, keywords compared, and the inputs of VASP
    built in memory.

    Parameters
    ----------
    maker
        The labeller.
    structure
        What it is to label.
    here
        Whether labels are computed on this machine, so that its programs, pseudopotentials and
        packages count; False where a worker elsewhere labels.
    max_atoms
        See `onfly.structures.check_structure`; None allows any.

    Returns
    -------
    list of str
        One sentence for each problem, with its remedy; empty if none is known.

    Examples
    --------
    >>> from onfly import label_maker
    >>> from onfly.testing.models import crystal
    >>> check_labeller(label_maker("emt"), crystal("Cu", "Au"))
    []
    >>> check_labeller(label_maker("emt"), crystal("Zr", "S"))
    ['ase.calculators.emt.EMT does not know S, Zr: choose another labeller']
    """
    try:
        check_structure(structure, max_atoms=max_atoms)
    except StructureError as error:
        return [str(error)]
    if not isinstance(maker, Maker):
        return [
            f"the labeller is a {type(maker).__name__}, not a Maker: use onfly.label_maker, or "
            "onfly.labels.ase.AseLabelMaker for an ASE calculator"
        ]
    problems: list[str] = []
    for part in _parts(maker):
        problems += _check_one(part, structure, here)
    return list(dict.fromkeys(problems))


def _parts(maker: Maker) -> Iterator[Maker]:
    """Yield a maker and the makers of the flow that it may be."""
    yield maker
    if is_dataclass(maker):
        for field in fields(maker):
            if isinstance(inner := getattr(maker, field.name), Maker):
                yield from _parts(inner)


def _check_one(maker: Maker, structure: Structure | Molecule, here: bool) -> list[str]:
    name = f"the labeller {type(maker).__name__}"
    if isinstance(maker, AseLabelMaker):
        return _check_ase_label(maker, structure, here)
    if isinstance(maker, AseMaker):
        if not isinstance(maker, AseRelaxMaker):
            return [f"{name} gives no forces: derive it from AseRelaxMaker with steps=1"]
        if maker.steps > 1:
            return [
                f"{name} relaxes the structure ({maker.steps} steps): a label is a single point, "
                "use a static maker or set steps=1"
            ]
        return []
    if isinstance(maker, BaseVaspMaker):
        return _check_vasp(maker, structure, here)
    modules = [c.__module__ for c in type(maker).__mro__]
    code = next((m.split(".")[1] for m in modules if m.startswith("atomate2.")), "")
    if code in _UNREADABLE:
        return [
            f"{name}: labels cannot be read from task documents of {code}: use VASP, CP2K, "
            "Abinit, FHI-aims, a force field, or an ASE calculator in AseLabelMaker"
        ]
    if any(c.__name__ in _MOVING for c in type(maker).__mro__):
        return [f"{name} moves the atoms: a label is a single point, use a static maker"]
    if here and code in _COMMANDS and ".flows." not in type(maker).__module__:
        from atomate2 import SETTINGS

        return _check_command(name, str(getattr(SETTINGS, _COMMANDS[code], "")), _COMMANDS[code])
    return []


def _check_ase_label(
    maker: AseLabelMaker, structure: Structure | Molecule, here: bool
) -> list[str]:
    problems = []
    try:
        json.dumps(maker.calculator_kwargs)
    except (TypeError, ValueError) as error:
        problems.append(f"calculator_kwargs cannot be written to a file: {error}")
    package = str(maker.calculator).split(".")[0]
    try:
        missing = importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        missing = True
    if missing and not here:
        return problems  # the machine that labels may have it
    try:
        target = calculator_class(maker.calculator)
        check_keywords(maker.calculator, target, maker.calculator_kwargs)
    except ValueError as error:
        return [*problems, str(error)]
    return problems + _check_elements(maker, structure)


def _check_elements(maker: AseLabelMaker, structure: Structure | Molecule) -> list[str]:
    symbols = {site.specie.symbol: site.specie.Z for site in structure}
    if maker.calculator == "ase.calculators.emt.EMT":
        from ase.calculators.emt import parameters

        unknown = sorted(set(symbols) - set(parameters))
    elif maker.calculator == "tblite.ase.TBLite":
        method = maker.calculator_kwargs.get("method", _XTB[0])
        if method not in _XTB:
            return [f"tblite has no method {method!r}: use {', '.join(_XTB)}"]
        unknown = sorted(s for s, z in symbols.items() if z > _LAST_ELEMENT_OF_XTB)
    else:
        unknown = []
    if unknown:
        return [f"{maker.calculator} does not know {', '.join(unknown)}: choose another labeller"]
    molecules_only = maker.calculator == "onfly.labels.pyscf_calculator.PySCF"
    if molecules_only and isinstance(structure, Structure):
        return [
            f"{maker.calculator} is for molecules, and the structure is periodic: set "
            "`periodic: false` for a molecule in a box, or use gpaw-pbe for a crystal"
        ]
    return []


def _check_vasp(maker: BaseVaspMaker, structure: Structure | Molecule, here: bool) -> list[str]:
    name = f"the labeller {type(maker).__name__}"
    if isinstance(structure, Molecule):
        return [
            f"{name} needs a cell, and the structure is a molecule: put it into a box with at "
            "least 10 Å of vacuum and say `periodic: true`"
        ]
    generator = maker.input_set_generator
    mesh = getattr(generator, "kpoints_mesh", None)
    # before the inputs are made, whose own messages say less
    problems = incar_problems(getattr(generator, "user_incar_settings", None) or {})
    problems += [] if mesh is None else mesh_problems(mesh)
    if problems:
        return problems
    real = here and not maker.write_input_set_kwargs.get("potcar_spec", False)
    try:
        inputs = generator.get_input_set(structure, potcar_spec=True)
    except Exception as error:  # input sets raise whatever they like
        return [f"{name}: VASP's inputs cannot be made: {type(error).__name__}: {error}"]
    problems = incar_problems(inputs["INCAR"])
    kpoints = inputs.get("KPOINTS")
    if kpoints is not None and getattr(kpoints, "num_kpts", 1) == 0 and len(kpoints.kpts) == 1:
        problems += mesh_problems(kpoints.kpts[0])
    if real:
        try:
            generator.get_input_set(structure)
        except Exception as error:
            problems.append(
                f"{name}: the POTCARs are not there: {error}; set PMG_VASP_PSP_DIR to their folder "
                "(`pmg config -p`)"
            )
    if here:
        from atomate2 import SETTINGS

        command = maker.run_vasp_kwargs.get("vasp_cmd", SETTINGS.VASP_CMD)
        problems += _check_command(name, str(command), "VASP_CMD")
    return problems


def _check_command(name: str, command: str, setting: str) -> list[str]:
    """Look for the program of a command line, and for the code behind an mpirun."""
    remedy = f"load its module, or set {setting} in ~/.atomate2.yaml (ATOMATE2_{setting})"
    try:
        words = shlex.split(os.path.expandvars(command))
    except ValueError as error:
        return [f"{name}: the command {command!r} cannot be read: {error}; {remedy}"]
    if not words:
        return [f"{name}: the command of the program is empty; {remedy}"]
    code = setting.partition("_")[0].lower()
    wanted = [words[0], *(w for w in words[1:] if os.path.basename(w).startswith(code))]
    missing = [w for w in wanted if shutil.which(w) is None]
    return [f"{name}: the program {word!r} is not there; {remedy}" for word in missing]
