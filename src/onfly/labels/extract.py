"""One label from any task document of atomate2, in the package's units.

| document | energy | forces | stress |
| --- | --- | --- | --- |
| VASP | eV; ionic step holds e_fr_energy, e_wo_entrp, e_0_energy | eV/Å | kbar, + compressed |
| ASE, force field | eV | eV/Å | kbar, + compressed |
| CP2K | eV | Ha/Bohr | GPa or bar (see `cp2k_units`), + compressed |
| Abinit | eV | eV/Å | GPa, + tension |
| FHI-aims | eV | eV/Å | kbar, + tension |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ase.units
import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.labels.corrections import corrections_of
from onfly.labels.cp2k_units import stress_scale
from onfly.labels.documents import Code, code_of, decode_structure, pick, plain
from onfly.labels.errors import LabelError
from onfly.labels.input_hash import hash_settings, settings_of
from onfly.labels.mapping import site_order
from onfly.schemas import LabelDoc, from_any_structure, structure_hash
from onfly.units import stress_from_task

__all__ = ["extract_label"]


@dataclass(frozen=True)
class _Raw:
    """What a task document says: eV, eV/Å, eV/Å³ (tension positive), sites as calculated."""

    structure: Structure | Molecule | None
    energy: float | None
    energy_key: str
    forces: Any
    stress: Any


def _vasp(document: Any, energy_key: str) -> _Raw:
    step = pick(document, "calcs_reversed", 0, "output", "ionic_steps", -1)
    if energy_key == "energy":
        energy = pick(document, "output", "energy")
    elif energy_key in ("e_fr_energy", "e_0_energy", "e_wo_entrp"):
        energy = pick(step, energy_key)
        if energy is None and energy_key == "e_0_energy":
            energy = pick(document, "output", "energy")
    else:
        raise ValueError(
            f"unknown energy_key {energy_key!r}: use e_fr_energy, e_0_energy, e_wo_entrp or energy"
        )
    structure = pick(step, "structure") or pick(document, "output", "structure")
    forces = pick(step, "forces") or pick(document, "output", "forces")
    stress = pick(step, "stress") or pick(document, "output", "stress")
    if stress is not None:
        stress = stress_from_task(stress, "kbar", -1)
    return _Raw(decode_structure(structure), energy, energy_key, forces, stress)


def _output_structure(document: Any) -> Structure | Molecule | None:
    for path in (
        ("output", "mol_or_struct"),
        ("output", "structure"),
        ("output", "molecule"),
        ("structure",),
        ("molecule",),
    ):
        if (found := pick(document, *path)) is not None:
            return decode_structure(found)
    return None


def _ase(document: Any, energy_key: str) -> _Raw:
    energy, key = pick(document, "output", "energy"), "energy"
    # only AseLabelMaker records the free energy apart from the one extrapolated to zero smearing
    free = pick(document, "free_energy")
    if energy_key == "e_fr_energy" and free is not None:
        energy, key = free, "e_fr_energy"
    stress = pick(document, "output", "stress")
    if stress is not None:
        stress = stress_from_task(stress, "kbar", -1)
    forces = pick(document, "output", "forces")
    return _Raw(_output_structure(document), energy, key, forces, stress)


def _cp2k(document: Any, energy_key: str) -> _Raw:
    forces = pick(document, "output", "forces")
    if forces is not None:
        forces = np.asarray(forces, dtype=float) * ase.units.Hartree / ase.units.Bohr
    stress = pick(document, "output", "stress")
    if stress is not None:
        scale = stress_scale(document, pick(document, "dir_name"))
        stress = stress_from_task(np.asarray(stress, dtype=float) * scale, "GPa", -1)
    energy = pick(document, "output", "energy")
    return _Raw(_output_structure(document), energy, "energy", forces, stress)


def _abinit(document: Any, energy_key: str) -> _Raw:
    stress = pick(document, "output", "stress")
    if stress is not None:
        stress = stress_from_task(stress, "GPa", 1)
    forces, energy = pick(document, "output", "forces"), pick(document, "output", "energy")
    return _Raw(_output_structure(document), energy, "energy", forces, stress)


def _aims(document: Any, energy_key: str) -> _Raw:
    stress = pick(document, "output", "stress")
    if stress is not None:
        stress = stress_from_task(stress, "kbar", 1)
    forces, energy = pick(document, "output", "forces"), pick(document, "output", "energy")
    return _Raw(_output_structure(document), energy, "energy", forces, stress)


_READERS: dict[Code, Callable[[Any, str], _Raw]] = {
    "vasp": _vasp,
    "ase": _ase,
    "forcefield": _ase,
    "cp2k": _cp2k,
    "abinit": _abinit,
    "aims": _aims,
}


def _require_converged(document: Any, code: Code, directory: str | None) -> None:
    state = plain(pick(document, "state"))
    if state is not None and state != "successful":
        raise LabelError(f"the calculation ended in the state {state!r}", directory)
    # a run that a STOPCAR ended within the SCF has fewer steps than NELM and looks converged
    if any("walltime" in e.lower() for c in corrections_of(document) for e in c["errors"]):
        raise LabelError(
            "the calculation was stopped at its wall time, its SCF may not have converged",
            directory,
            "give the label jobs more time",
        )
    if code == "vasp":
        calculation = pick(document, "calcs_reversed", 0)
        done = plain(pick(calculation, "has_vasp_completed", default="successful"))
        if done not in ("successful", True):
            raise LabelError("VASP did not complete the calculation", directory)
        limit = pick(calculation, "input", "parameters", "NELM")
        step = pick(calculation, "output", "ionic_steps", -1)
        used = pick(step, "num_electronic_steps") or len(pick(step, "electronic_steps", default=()))
        if limit and used and used >= int(limit):
            raise LabelError(
                f"the SCF did not converge in {limit} steps",
                directory,
                "raise NELM or choose a more robust ALGO (see onfly.labels.careful)",
            )
    if code == "aims":
        # the state is "successful" as soon as there are results
        limit = pick(document, "input", "parameters", "sc_iter_limit")
        structure = decode_structure(pick(document, "output", "structure"))
        used = pick(structure, "properties", "n_scf_iter")
        if limit and used and used >= int(limit):
            raise LabelError(
                f"the SCF did not converge in {limit} steps", directory, "raise sc_iter_limit"
            )


def _labeller(document: Any, code: Code) -> str:
    if code == "vasp":
        version = str(pick(document, "vasp_version", default="")).strip()
        return " ".join(filter(None, ["VASP", version, plain(pick(document, "run_type"))]))
    for key in ("forcefield_name", "calculator", "ase_calculator_name"):
        if name := pick(document, key):
            return str(name)
    return {"cp2k": "CP2K", "abinit": "Abinit", "aims": "FHI-aims"}.get(code, code)


def _elapsed(document: Any, code: Code) -> float | None:
    if code == "vasp":
        return pick(document, "run_stats", "overall", "elapsed_time")
    return pick(document, "output", "elapsed_time")


def extract_label(
    output: Any,
    *,
    requested: Structure | Molecule | None = None,
    energy_key: str = "e_fr_energy",
    **context: Any,
) -> LabelDoc:
    """Read a label from the output of an atomate2 static maker.

    Parameters
    ----------
    output
        Task document of VASP, ASE, a force field, CP2K, Abinit or FHI-aims, as the pydantic
        object or as the dictionary that a store holds.
    requested
        What was to be labelled. The forces are then brought back to its site order, and it
        becomes the structure of the label. Without it the structure of the document is taken.
    energy_key
        ``"e_fr_energy"`` (the free energy, of which the forces are the derivative) or
        ``"e_0_energy"`` (extrapolated to zero smearing), where the document knows both.
    **context
        Further fields of `LabelDoc`: run_id, index, reason, md_step, predicted_energy …

    Returns
    -------
    LabelDoc
        In eV, eV/Å and eV/Å³ (positive under tension); see `validate_label` for its checks.

    Raises
    ------
    LabelError
        If the calculation failed or did not converge, energy or forces are missing, or atoms,
        cell or positions are not the requested ones.
    """
    if unknown := set(context) - set(LabelDoc.model_fields):
        raise TypeError(f"LabelDoc has no fields {sorted(unknown)}")
    if output is None:
        raise LabelError("the labeller returned nothing")
    code = code_of(output)
    directory = pick(output, "dir_name")
    directory = None if directory is None else str(directory)
    _require_converged(output, code, directory)
    raw = _READERS[code](output, energy_key)
    if raw.structure is None:
        raise LabelError("the task document holds no structure", directory)
    if raw.energy is None:
        raise LabelError(f"the task document holds no energy ({raw.energy_key})", directory)
    if raw.forces is None:
        raise LabelError(
            "the task document holds no forces",
            directory,
            "use a static maker that computes forces (of atomate2's ASE makers: AseRelaxMaker "
            "with steps=1, not AseMaker)",
        )
    forces = np.asarray(raw.forces, dtype=float)
    structure = raw.structure
    if forces.shape != (len(structure), 3):
        raise LabelError(f"forces have shape {forces.shape} for {len(structure)} atoms", directory)
    if requested is not None:
        try:
            forces = forces[site_order(requested, structure)]
        except LabelError as error:
            raise LabelError(error.reason, directory, error.remedy) from error
        structure = requested
    settings = settings_of(output, code)
    fields: dict[str, Any] = {
        "structure": structure,
        "structure_hash": structure_hash(structure),
        "energy": float(raw.energy),
        "forces": forces.tolist(),
        "stress": None if raw.stress is None else np.asarray(raw.stress, dtype=float).tolist(),
        "energy_key": raw.energy_key,
        "labeller": _labeller(output, code),
        "input_hash": None if settings is None else hash_settings(settings),
        "dir_name": directory,
        "corrections": corrections_of(output),
        "elapsed": _elapsed(output, code),
    }
    return from_any_structure(LabelDoc, structure, **(fields | context))
