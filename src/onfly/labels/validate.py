"""Checks between a calculation and the data set: what fails one never becomes a label."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Molecule, Structure

from onfly.labels.corrections import surface_changes
from onfly.labels.errors import LabelError
from onfly.labels.mapping import site_order
from onfly.schemas import LabelDoc

__all__ = ["MAX_NET_FORCE", "validate_label"]

_STRESS_ASYMMETRY = 1e-3  # relative to the largest component; codes print few digits
_STRESS_FLOOR = 1e-4  # eV/Å³

# Forces are derivatives of an energy that does not change when all atoms move together, so their
# sum is zero. What codes leave of it, for each atom: FHI-aims and xTB under 1e-4 eV/Å (the former
# removes it), PySCF's grids about 1e-3, plane waves with real-space exchange-correlation 1e-3 to
# 1e-2 (VASP prints it as the total drift).
MAX_NET_FORCE = 0.02  # eV/Å per atom


def _symmetrised(stress: np.ndarray, directory: str | None) -> np.ndarray:
    asymmetry = np.abs(stress - stress.T).max()
    allowed = max(_STRESS_FLOOR, _STRESS_ASYMMETRY * np.abs(stress).max())
    if asymmetry > allowed:
        raise LabelError(
            f"the stress tensor is not symmetric (by {asymmetry:.2g} eV/Å³)", directory
        )
    return 0.5 * (stress + stress.T)


def validate_label(
    label: LabelDoc,
    *,
    requested: Structure | Molecule | None = None,
    max_force: float = 50.0,
    max_net_force: float | None = MAX_NET_FORCE,
    input_hash: str | None = None,
) -> None:
    """Raise if a label must not enter a data set; symmetrise its stress otherwise.

    Convergence is checked by `extract_label`, where the calculation's own record is at hand.

    Parameters
    ----------
    label
        From `extract_label`. Its ``stress`` is replaced by the symmetric part.
    requested
        What was to be labelled: species, cell, positions and site order must agree.
    max_force
        Largest allowed force on an atom in eV/Å: above it the configuration has exploded.
    max_net_force
        Largest allowed sum of the forces divided by the number of atoms in eV/Å; None allows any
        (for a labeller with an external field, or whose forces are no derivatives).
    input_hash
        Hash of the run's first label: all labels of a run lie on one energy surface.

    Raises
    ------
    LabelError
        With the reason and the directory of the calculation.

    Examples
    --------
    >>> from onfly.labels.ase import AseLabelMaker
    >>> from onfly.labels.extract import extract_label
    >>> from onfly.testing.models import crystal
    >>> maker = AseLabelMaker(calculator="ase.calculators.emt.EMT")
    >>> label = extract_label(maker.run(crystal("Cu", "Au")))
    >>> validate_label(label)
    >>> validate_label(label.model_copy(update={"energy": float("nan")}))
    Traceback (most recent call last):
        ...
    onfly.labels.errors.LabelError: the energy is nan...
    """
    where = label.dir_name
    if not label.structure.is_ordered:
        raise LabelError(
            "the structure has partial occupancies", where, "label an ordered structure"
        )
    forces = np.asarray(label.forces, dtype=float)
    n_atoms = len(label.structure)
    if forces.shape != (n_atoms, 3):
        raise LabelError(f"forces have shape {forces.shape} for {n_atoms} atoms", where)
    if not np.isfinite(label.energy):
        raise LabelError(f"the energy is {label.energy}", where)
    if not np.isfinite(forces).all():
        raise LabelError("forces are not finite", where)
    if label.stress is not None:
        stress = np.asarray(label.stress, dtype=float)
        if stress.shape != (3, 3):
            raise LabelError(f"the stress has shape {stress.shape}, expected (3, 3)", where)
        if not np.isfinite(stress).all():
            raise LabelError("the stress is not finite", where)
        label.stress = _symmetrised(stress, where).tolist()
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > max_force:
        raise LabelError(
            f"the largest force is {largest:.1f} eV/Å, above the limit of {max_force:g}",
            where,
            "the configuration has exploded; raise max_force only if such forces are real",
        )
    net = float(np.linalg.norm(forces.sum(axis=0))) / n_atoms
    if max_net_force is not None and net > max_net_force:
        raise LabelError(
            f"the forces do not sum to zero: {net:.3g} eV/Å for each atom, above the limit of "
            f"{max_net_force:g}",
            where,
            "forces are incomplete, or integration grid and cut-off too coarse: raise them, or "
            "raise max_net_force (None for labellers in an external field)",
        )
    if requested is not None:
        try:
            order = site_order(requested, label.structure)
        except LabelError as error:
            raise LabelError(error.reason, where, error.remedy) from error
        if not np.array_equal(order, np.arange(n_atoms)):
            raise LabelError(
                "the sites of the label are not in the order in which they were asked for",
                where,
                "give the requested structure to extract_label",
            )
    if changed := surface_changes(label.corrections):
        tags = ", ".join(f"{tag}={value}" for tag, value in changed.items())
        raise LabelError(
            f"custodian changed the potential energy surface ({tags})",
            where,
            "use VaspLabelMaker, whose handlers leave the surface alone, or set these tags for "
            "the whole run",
        )
    if input_hash is not None and label.input_hash != input_hash:
        raise LabelError(
            f"the settings of the calculation (hash {str(label.input_hash)[:12]}) are not those "
            f"of the run's first label ({input_hash[:12]})",
            where,
            "label all frames with the same settings, or start a new run",
        )
