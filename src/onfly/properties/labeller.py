"""The labeller as an ASE calculator: every evaluation is a label, which is kept and counted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from jobflow import Maker

from onfly.labels.extract import extract_label
from onfly.labels.maker import maker_for_run, maker_hash
from onfly.labels.store import LabelStore
from onfly.rounds.ask import label_here
from onfly.schemas import LabelDoc, structure_hash, to_structure

__all__ = ["LabelCalculator"]

logger = logging.getLogger(__name__)


class LabelCalculator(Calculator):
    """Ask the labeller for energy, forces and stress, in this process.

    A label that the store holds, with the same settings, is not computed again. What a maker fixes
    for a run (k-mesh, moments) is fixed for each size of cell.

    Parameters
    ----------
    maker
        Any atomate2 maker whose output has energy, forces and stress.
    store
        Of the labels.
    folder
        Where calculations get folders.
    energy_key
        See `onfly.labels.extract.extract_label`.

    Attributes
    ----------
    n_labels
        Labels that were computed.

    Examples
    --------
    >>> from onfly import label_maker
    >>> from onfly.testing.models import crystal
    >>> atoms = crystal("Cu", "Au").to_ase_atoms(msonable=False)
    >>> atoms.calc = LabelCalculator(label_maker("emt"), LabelStore("labels"), Path("calculations"))
    >>> round(atoms.get_potential_energy(), 3), atoms.calc.n_labels
    (0.065, 1)
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self, maker: Maker, store: LabelStore, folder: Path, energy_key: str = "e_fr_energy"
    ) -> None:
        super().__init__()
        self.maker = maker
        self.store = store
        self.folder = folder
        self.energy_key = energy_key
        self.n_labels = 0
        self._makers: dict[int, Maker] = {}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Label a configuration; see `ase.calculators.calculator.Calculator`.

        Raises
        ------
        LabelError
            If the calculation fails.
        """
        super().calculate(atoms, properties, system_changes)
        present: Any = self.atoms
        label = self._label(present)
        self.results = {
            "energy": label.energy,
            "free_energy": label.energy,
            "forces": np.array(label.forces),
        }
        if label.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(np.array(label.stress))

    def _label(self, atoms: Atoms) -> LabelDoc:
        structure = to_structure(atoms)
        maker = self._makers.get(len(atoms))
        if maker is None:
            maker = self._makers[len(atoms)] = maker_for_run(self.maker, structure)
        known = maker_hash(maker)
        if known is not None:
            key = self.store.find(structure_hash(structure), known, self.energy_key)
            if key is not None:
                return self.store.get(key)
        output = label_here(maker, structure, self.n_labels, self.folder)
        label = extract_label(output, requested=structure, energy_key=self.energy_key)
        self.store.put(label)
        self.n_labels += 1
        return label
