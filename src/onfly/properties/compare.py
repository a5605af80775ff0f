"""Properties by the model with error bars, beside those of the foundation and of the labeller."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from onfly.dynamics.criteria import Calibrations
from onfly.library.calculator import PosteriorCalculator
from onfly.properties.calibrated import clustering, spread, widening
from onfly.properties.draws import PotentialCalculator, posterior_draws
from onfly.properties.measured import Measured, Property
from onfly.properties.relax import primitive_cell, relaxed
from onfly.schemas import to_structure
from onfly.schemas.properties import PropertiesDoc, PropertyDoc, PropertyValueDoc

__all__ = ["ForceFields", "compare", "force_fields"]

logger = logging.getLogger(__name__)

DIGITS = 6  # of the curves in documents


@dataclass(frozen=True)
class ForceFields:
    """All that are asked for the same properties.

    Parameters
    ----------
    model
        Mean of the posterior.
    calibrations
        Of its run.
    draws
        From its posterior.
    foundation, labeller
        To compare with; None leaves them out.
    label_atoms
        Number of atoms in a labelled cell; None takes the components of labels as independent.
    """

    model: Calculator
    calibrations: Calibrations
    draws: Sequence[Calculator] = ()
    foundation: Calculator | None = None
    labeller: Calculator | None = None
    label_atoms: int | None = None


def force_fields(
    calculator: PosteriorCalculator,
    calibrations: Calibrations,
    *,
    n_draws: int = 12,
    seed: int = 0,
    labeller: Calculator | None = None,
) -> ForceFields:
    """Return the model, draws from its posterior and its foundation, on one scale of energies.

    Parameters
    ----------
    calculator
        Of the model.
    calibrations
        Of the run that made it.
    n_draws
        Number of draws, at least 2.
    seed
        Of the draws.
    labeller
        Passed on.
    """
    predictor, offset = calculator.predictor, calculator.offset
    key = ("properties", "draws", seed)
    potential = predictor.potential
    return ForceFields(
        calculator,
        calibrations,
        posterior_draws(predictor, n_draws, seed_key=key, offset=offset),
        PotentialCalculator(potential, potential.parameters(), offset=offset),
        labeller,
        offset.n_atoms,
    )


@dataclass
class _Asked:
    """One force field: its own relaxed cell, and what it says."""

    name: str
    calculator: Calculator
    cell: Atoms | None = None
    found: list[Measured | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def ask(self, start: Atoms, properties: Sequence[Property], fmax: float) -> None:
        """Relax, and measure one property after the other; what fails is noted."""
        try:
            self.cell = relaxed(start, self.calculator, fmax=fmax)
        except Exception as error:  # labellers and optimizers raise whatever they like
            self.problems = [self._said(error)] * len(properties)
            self.found = [None] * len(properties)
            return
        for measure in properties:
            try:
                self.found.append(measure.measure(self.calculator, self.cell))
                self.problems.append("")
            except Exception as error:
                logger.info("%s of %s failed", measure.kind, self.name, exc_info=True)
                self.found.append(None)
                self.problems.append(self._said(error))

    def _said(self, error: Exception) -> str:
        return f"{self.name}: {type(error).__name__}: {error}"


def compare(
    fields: ForceFields,
    atoms: Atoms,
    properties: Sequence[Property],
    *,
    fmax: float = 1e-3,
    max_atoms: int = 40,
) -> PropertiesDoc:
    """Measure properties of a crystal by all force fields.

    The crystal is relaxed by the model and reduced to its primitive cell; from there each force
    field relaxes it with its symmetry kept, and measures in its own cell. What fails for one of
    them is noted in the document, and the others go on.

    Parameters
    ----------
    fields
        The force fields.
    atoms
        The crystal; may be a supercell, and displaced.
    properties
        What to measure.
    fmax
        Of the relaxations, eV/Å.
    max_atoms
        Larger primitive cells are refused.

    Returns
    -------
    PropertiesDoc
        Each value with its unit.

    Raises
    ------
    ValueError
        If the structure is not periodic, or its primitive cell is too large.
    NotRelaxedError
        If the model does not relax it.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from onfly.dynamics.criteria import Calibrations
    >>> from onfly.properties.eos import EquationOfStateFit
    >>> fields = ForceFields(model=EMT(), calibrations=Calibrations(), foundation=EMT())
    >>> found = compare(fields, bulk("Cu"), [EquationOfStateFit()])
    >>> [(value.name, value.unit) for value in found.properties[0].values]
    [('V0', 'Å³/atom'), ('E0', 'eV/atom'), ('B0', 'GPa')]
    """
    start_time = time.monotonic()
    if not atoms.pbc.all():
        raise ValueError("these properties are those of crystals, and the structure is a molecule")
    # of a displaced start, the symmetry shows only after the relaxation
    first = relaxed(atoms, fields.model, fmax=fmax, keep_symmetry=False)
    cell = primitive_cell(first)
    if len(cell) > max_atoms:
        raise ValueError(
            f"the primitive cell has {len(cell)} atoms, more than {max_atoms}: raise "
            "`properties.max_atoms`, or give an ideal structure of higher symmetry"
        )
    model = _Asked("model", fields.model)
    model.ask(cell, properties, fmax)
    start = cell if model.cell is None else model.cell
    draws = [_Asked(f"draw {k}", draw) for k, draw in enumerate(fields.draws)]
    others = {
        name: _Asked(name, calculator)
        for name, calculator in (("foundation", fields.foundation), ("labeller", fields.labeller))
        if calculator is not None
    }
    for asked in [*draws, *others.values()]:
        asked.ask(start, properties, fmax)
    found = [
        _document(index, measured, fields, start, model, draws, others)
        for index, measured in enumerate(properties)
    ]
    return PropertiesDoc(
        structure=to_structure(start),
        properties=found,
        n_labels=getattr(fields.labeller, "n_labels", 0),
        seconds=time.monotonic() - start_time,
    )


def _document(
    index: int,
    measure: Property,
    fields: ForceFields,
    cell: Atoms,
    model: _Asked,
    draws: Sequence[_Asked],
    others: dict[str, _Asked],
) -> PropertyDoc:
    """Put together what all force fields say of one property."""
    central = model.found[index]
    known = [one for draw in draws if (one := draw.found[index]) is not None]
    factor, of = widening(fields.calibrations, measure.scale, list(cell.numbers))
    if fields.label_atoms is not None:
        factor *= clustering(fields.label_atoms)
    doc = PropertyDoc(kind=measure.kind, n_draws=len(known), factor=factor, calibrated_by=of)
    doc.problems = [
        asked.problems[index]
        for asked in (model, *draws, *others.values())
        if asked.problems[index]
    ]
    beside = {name: asked.found[index] for name, asked in others.items()}
    first = central or next((one for one in beside.values() if one is not None), None)
    if first is None:
        return doc
    for name in first.values:
        drawn = [one.values[name] for one in known if name in one.values]
        std = float(spread(drawn, factor)) if len(drawn) > 1 else None
        if name == "E0" and std is not None:
            std = _with_energy_std(fields.model, cell, std)
        doc.values.append(
            PropertyValueDoc(
                name=name,
                unit=measure.unit(name),
                value=None if central is None else central.values.get(name),
                std=std,
                **{k: None if one is None else one.values.get(name) for k, one in beside.items()},
            )
        )
    doc.curves = {k: _lists(one.curves) for k, one in beside.items() if one is not None}
    if central is not None:
        doc.curves["model"] = _lists(central.curves)
        stds = {
            name: spread([one.curves[name] for one in known], factor)
            for name, values in central.curves.items()
            if len(known) > 1 and all(np.shape(o.curves[name]) == values.shape for o in known)
        }
        if stds:
            doc.curves["std"] = _lists(stds)
    return doc


def _with_energy_std(model: Calculator, cell: Atoms, std: float) -> float:
    """Return the error bar of an energy per atom: the calibrated one, where the model has one."""
    if not isinstance(model, PosteriorCalculator):
        return std
    atoms = Atoms(cell.numbers, cell.positions, cell=cell.cell.array, pbc=True)
    atoms.calc = model
    found = float(model.get_property("energy_std", atoms)) / len(atoms)
    return found if np.isfinite(found) else std


def _lists(curves: Any) -> dict[str, Any]:
    return {name: np.round(np.asarray(v, float), DIGITS).tolist() for name, v in curves.items()}
