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
from dataclasses import dataclass, replace
from typing import Any

import ase.units
import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.labels.convergence import require_converged
from onfly.labels.corrections import corrections_of
from onfly.labels.cp2k_units import stress_scale
from onfly.labels.documents import Code, code_of, decode_structure, pick, plain
from onfly.labels.errors import LabelError
from onfly.labels.failed import FailedLabelDoc
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
        energy_key = "e_0_energy"  # what emmet takes as the energy
    else:
        energy = pick(step, energy_key)
        if energy is None and energy_key == "e_0_energy":
            energy = pick(document, "output", "energy")
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
    if free is not None:
        key = "e_fr_energy" if energy_key == "e_fr_energy" else "e_0_energy"
        energy = free if key == "e_fr_energy" else energy
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


_ENERGY_KEYS = ("e_fr_energy", "e_0_energy", "e_wo_entrp", "energy")


def _read(document: Any, code: Code, energy_key: str, directory: str | None) -> _Raw:
    """Read a document; whatever is wrong with its values is a reason and no crash."""
    try:
        raw = _READERS[code](document, energy_key)
        energy = None if raw.energy is None else float(raw.energy)
        forces = None if raw.forces is None else np.asarray(raw.forces, dtype=float)
        stress = None if raw.stress is None else np.asarray(raw.stress, dtype=float)
    except (TypeError, ValueError, KeyError) as error:
        raise LabelError(
            f"the task document of {code} holds values that are no numbers: {error}", directory
        ) from error
    return replace(raw, energy=energy, forces=forces, stress=stress)


def _require_plain(structure: Structure | Molecule, name: str, directory: str | None) -> None:
    if not structure.is_ordered:
        raise LabelError(
            f"the structure of the {name} has partial occupancies",
            directory,
            "label an ordered structure",
        )
    cell = structure.lattice.matrix if isinstance(structure, Structure) else 0.0
    # the symmetry search of the document crashes the interpreter on such numbers
    if not (np.isfinite(structure.cart_coords).all() and np.isfinite(cell).all()):
        raise LabelError(f"the positions or the cell of the {name} are not finite", directory)


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
    ValueError
        If the energy key is unknown.
    TypeError
        If a further field is none of `LabelDoc`.

    Examples
    --------
    >>> from onfly.labels.ase import AseLabelMaker
    >>> from onfly.testing.models import crystal
    >>> asked = crystal("Cu", "Au")
    >>> document = AseLabelMaker(calculator="ase.calculators.emt.EMT").run(asked)
    >>> label = extract_label(document, requested=asked, reason="audit", md_step=120)
    >>> round(label.energy, 3), label.reason, len(label.stress)
    (0.065, 'audit', 3)
    """
    if unknown := set(context) - set(LabelDoc.model_fields):
        raise TypeError(f"LabelDoc has no fields {sorted(unknown)}")
    if energy_key not in _ENERGY_KEYS:
        raise ValueError(f"unknown energy_key {energy_key!r}: use {', '.join(_ENERGY_KEYS)}")
    if output is None:
        raise LabelError("the labeller returned nothing")
    if pick(output, "doc_type") == "failed_label":
        raise FailedLabelDoc.model_validate(output).error()
    code = code_of(output)
    directory = pick(output, "dir_name")
    directory = None if directory is None else str(directory)
    require_converged(output, code, directory)
    raw = _read(output, code, energy_key, directory)
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
    structure = raw.structure
    _require_plain(structure, "calculation", directory)
    if requested is not None:
        _require_plain(requested, "request", directory)
    forces = raw.forces
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
        "energy": raw.energy,
        "forces": forces.tolist(),
        "stress": None if raw.stress is None else raw.stress.tolist(),
        "energy_key": raw.energy_key,
        "labeller": _labeller(output, code),
        "input_hash": None if settings is None else hash_settings(settings),
        "dir_name": directory,
        "corrections": corrections_of(output),
        "elapsed": _elapsed(output, code),
    }
    return from_any_structure(LabelDoc, structure, **(fields | context))
