"""Any ASE calculator as labeller, by its dotted name."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator
from ase.stress import voigt_6_to_full_3x3_stress
from atomate2.ase.jobs import AseMaker
from atomate2.ase.schemas import InputDoc, OutputDoc
from emmet.core.types.enums import TaskState
from jobflow import job
from pymatgen.core import Molecule, Structure

from onfly.labels.ase_schemas import AseLabelMoleculeTaskDoc, AseLabelTaskDoc
from onfly.labels.single_point import build_calculator, run_here, run_in_process, to_atoms
from onfly.units import stress_to_kbar

__all__ = ["AseLabelMaker"]

logger = logging.getLogger(__name__)


@cache  # the search through all distributions takes longer than many labels
def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pass
    # only if the names differ, since it reads the files of every distribution
    names = importlib.metadata.packages_distributions().get(package)
    return importlib.metadata.version(names[0]) if names else None


def _task_stress(voigt: list[float]) -> list[list[float]]:
    """Return the stress as atomate2's ASE documents hold it: 3×3, kbar, positive compressed."""
    return stress_to_kbar(voigt_6_to_full_3x3_stress(voigt)).tolist()


@dataclass
class AseLabelMaker(AseMaker):
    """Single point with any ASE calculator.

    Parameters
    ----------
    name
        Job name.
    calculator
        Dotted name of the calculator class, such as ``"tblite.ase.TBLite"``,
        ``"ase.calculators.emt.EMT"`` or ``"onfly.labels.pyscf_calculator.PySCF"``.
    calculator_kwargs
        Its keyword arguments; they must be serialisable.
    time_limit
        In s. With a limit the calculator runs in a process of its own, which is killed.
    in_process
        False runs in a process of its own also without a limit, so that a crash of the
        calculator is a failed label and not the end of the run. None: only with a limit.
    tags
        Tags of the task document.
    task_document_kwargs
        Further fields of the task document (``additional_fields`` of atomate2's powerups).
    ionic_step_data, store_trajectory
        As of atomate2's makers.

    Raises
    ------
    ValueError
        If a field is impossible, or the calculator is none.

    Notes
    -----
    A calculator is built for every label: one that is kept starts from the wave function of
    the label before, and a label would then depend on what was labelled before it.

    Examples
    --------
    >>> from onfly.labels.extract import extract_label
    >>> from onfly.testing.models import crystal
    >>> maker = AseLabelMaker(calculator="ase.calculators.emt.EMT")
    >>> label = extract_label(maker.run(crystal("Cu", "Au")))
    >>> round(label.energy, 3), len(label.forces)
    (0.065, 4)
    """

    name: str = "ase label"
    calculator: str = "tblite.ase.TBLite"  # type: ignore[assignment]
    time_limit: float | None = None
    in_process: bool | None = None
    task_document_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before any work starts."""
        super().__post_init__()
        if not isinstance(self.calculator, str) or "." not in self.calculator:
            raise ValueError(
                f"calculator={self.calculator!r} is not a dotted name such as "
                "'ase.calculators.emt.EMT'; for short names use onfly.labels.label_maker"
            )
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be positive, not {self.time_limit}")
        if not isinstance(self.calculator_kwargs, dict):
            raise ValueError(f"calculator_kwargs must be a mapping, not {self.calculator_kwargs!r}")
        if self.in_process and self.time_limit is not None:
            raise ValueError("a time_limit needs a process of its own: leave in_process unset")

    def _get_calculator(self) -> Calculator:
        return build_calculator(self.calculator, self.calculator_kwargs)

    @job
    def make(
        self, mol_or_struct: Structure | Molecule, prev_dir: str | Path | None = None
    ) -> AseLabelTaskDoc | AseLabelMoleculeTaskDoc:
        """Compute energy, forces and, for crystals, stress.

        Parameters
        ----------
        mol_or_struct
            What to label.
        prev_dir
            Unused; as other makers take it.

        Raises
        ------
        LabelError
            If the calculator raises, crashes or exceeds the time limit.
        """
        return self.run(mol_or_struct)

    def run(self, structure: Structure | Molecule) -> AseLabelTaskDoc | AseLabelMoleculeTaskDoc:
        """Do what the job does, here and now, in the current directory."""
        atoms = to_atoms(structure)
        own_process = self.time_limit is not None or self.in_process is False
        if own_process:
            point = run_in_process(atoms, self.calculator, self.calculator_kwargs, self.time_limit)
        else:
            point = run_here(atoms, self._get_calculator())
        logger.info("%s: %.6f eV in %.1f s", self.calculator, point.energy, point.elapsed)
        output = {
            "mol_or_struct": structure,
            "energy": point.energy,
            "energy_per_atom": point.energy / len(structure),
            "forces": point.forces,
            "stress": None if point.stress is None else _task_stress(point.stress),
            "elapsed_time": point.elapsed,
            "n_steps": 1,
        }
        fields: dict[str, Any] = {
            "input": InputDoc.model_validate({"mol_or_struct": structure, "steps": 1}),
            "output": OutputDoc.model_validate(output),
            "ase_calculator_name": self.calculator.rpartition(".")[2],
            "dir_name": str(Path.cwd()),
            "state": TaskState.SUCCESS,
            "tags": self.tags,
        }
        fields |= {
            "calculator": self.calculator,
            "calculator_kwargs": self.calculator_kwargs,
            "calculator_version": _version_of(self.calculator.split(".")[0]),
            "free_energy": point.free_energy,
        }
        fields |= self.task_document_kwargs.get("additional_fields", {})
        if isinstance(structure, Molecule):
            return AseLabelMoleculeTaskDoc.from_molecule(
                meta_molecule=structure, molecule=structure, **fields
            )
        return AseLabelTaskDoc.from_structure(
            meta_structure=structure, structure=structure, **fields
        )
