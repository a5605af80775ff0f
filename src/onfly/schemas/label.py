"""One DFT label, in the package's units, with all that is needed to judge it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from emmet.core.structure import StructureMetadata
from pydantic import Field
from pymatgen.core import Molecule, Structure

from onfly.schemas.types import StructureOrMolecule
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["RUN_FIELDS", "LabelDoc", "LabelReason", "structure_hash"]

LabelReason = Literal[
    "initial", "uncertain", "audit", "warmup", "guard", "ahead", "seed", "closing", "deciding"
]


# the context of a label in one run; stored labels do not hold it
RUN_FIELDS: tuple[str, ...] = (
    "run_id",
    "index",
    "reason",
    "trajectory",
    "md_step",
    "predicted_energy",
    "predicted_std",
    "probability",
    "force_rmse",
    "foundation_energy",
    "foundation_force_rmse",
)


def structure_hash(structure: Structure | Molecule, decimals: int = 8) -> str:
    """Hash species, order, cell and positions, rounded to ``decimals`` in Å.

    Two structures have the same hash only if a label of one is a label of the other, site by site:
    a charge, a spin multiplicity above a doublet, and initial moments count as well.
    """
    cell = np.zeros((3, 3)) if isinstance(structure, Molecule) else structure.lattice.matrix
    content: dict[str, Any] = {
        "species": [str(site.specie) for site in structure],
        "cell": (np.round(cell, decimals) + 0.0).tolist(),
        "positions": (np.round(structure.cart_coords, decimals) + 0.0).tolist(),
    }
    if state := _state(structure):
        content["state"] = state
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _state(structure: Structure | Molecule) -> dict[str, Any]:
    """Return what tells apart ground states of the same nuclei; empty for the usual one."""
    state: dict[str, Any] = {}
    if charge := float(structure.charge or 0.0):
        state["charge"] = round(charge, 6)
    if isinstance(structure, Molecule) and structure.spin_multiplicity not in (None, 1, 2):
        state["spin_multiplicity"] = int(structure.spin_multiplicity)
    for name in ("magmom", "charge", "spin"):
        values = structure.site_properties.get(name)
        if values is not None and any(value is not None for value in values):
            state[f"site_{name}"] = [None if v is None else str(v) for v in values]
    return state


class LabelDoc(StructureMetadata):
    """A labelled configuration; build it with ``onfly.labels.extract``.

    Energies are in eV, forces in eV/Å (shape (N, 3)), stresses in eV/Å³ (shape (3, 3), positive
    under tension).

    Raises
    ------
    ValueError
        If a field is of the wrong kind.

    Examples
    --------
    >>> from onfly.testing.models import toy_label
    >>> label = toy_label()
    >>> label.reason, len(label.forces)
    ('uncertain', 4)
    """

    doc_type: Literal["label"] = "label"
    doc_version: DocVersion = DOC_VERSION
    structure: StructureOrMolecule = Field(
        description="Exactly what was labelled, site order kept."
    )
    structure_hash: str = Field(description="See `structure_hash`.")
    energy: float = Field(description="Total energy in eV, on the DFT scale (no offset).")
    forces: list[list[float]] = Field(description="Forces in eV/Å, shape (N, 3).")
    stress: list[list[float]] | None = Field(
        None, description="Stress in eV/Å³, positive under tension, shape (3, 3); None if unknown."
    )
    energy_key: str = Field(
        "energy", description="Which energy: e_fr_energy, e_0_energy or energy."
    )
    labeller: str = Field("", description="Name of the maker or calculator that made the label.")
    input_hash: str | None = Field(None, description="Hash of the settings of the calculation.")
    task_uuid: str | None = Field(None, description="uuid of the job that made the label.")
    dir_name: str | None = Field(None, description="Directory of the calculation.")
    corrections: list[dict[str, Any]] = Field(
        default_factory=list, description="What custodian corrected."
    )
    elapsed: float | None = Field(None, description="Wall time of the calculation in s.")
    created_at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was computed, UTC."
    )

    # context in a run; None for a label that stands alone
    run_id: str | None = Field(None, description="The run that paid for it.")
    index: int | None = Field(None, description="Number of the label in its run, from 0.")
    reason: LabelReason | None = Field(None, description="Why it was asked for.")
    trajectory: int | None = Field(None, description="Number of the trajectory.")
    md_step: int | None = Field(None, description="MD step at which it was asked for.")
    predicted_energy: float | None = Field(
        None, description="Energy predicted before the update, on the DFT scale (eV)."
    )
    predicted_std: float | None = Field(None, description="Its uncalibrated std (eV).")
    probability: float | None = Field(
        None, description="Calibrated probability that the error exceeds the threshold."
    )
    force_rmse: float | None = Field(
        None, description="RMSE of the forces predicted before the update (eV/Å)."
    )
    foundation_energy: float | None = Field(
        None, description="Energy of the unchanged foundation model plus the offset (eV)."
    )
    foundation_force_rmse: float | None = Field(None, description="Its force RMSE (eV/Å).")

    @property
    def error(self) -> float | None:
        """Predicted minus labelled energy in eV, or None if nothing was predicted."""
        return None if self.predicted_energy is None else self.predicted_energy - self.energy
