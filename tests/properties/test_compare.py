from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import Calculator
from pymatgen.core import Lattice, Structure

from onfly.artifacts import ArtifactStore
from onfly.calculators import build_calculator
from onfly.dynamics.criteria import Calibrations
from onfly.properties.calibrated import widening
from onfly.properties.compare import ForceFields, compare, force_fields
from onfly.properties.elastic import Elastic
from onfly.properties.eos import EquationOfStateFit
from onfly.schemas.properties import PropertiesDoc
from onfly.settings import get_settings
from onfly.testing.models import toy_model


class Broken(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, *args, **kwargs):
        raise RuntimeError("no convergence")


def softer(crystal, share):
    return replace(crystal, epsilon=crystal.epsilon * share)


def test_error_bars_are_the_calibrated_spread_of_the_draws(crystal):
    draws = [softer(crystal, share) for share in (0.9, 1.0, 1.1)]
    truth = softer(crystal, 1.2)
    fields = ForceFields(
        crystal.calculator,
        Calibrations(),
        [draw.calculator for draw in draws],
        foundation=softer(crystal, 0.5).calculator,
        labeller=truth.calculator,
    )
    start = crystal.atoms.repeat(2)
    start.rattle(0.02, seed=0)
    doc = compare(fields, start, [EquationOfStateFit(span=0.03)])
    assert len(doc.structure) == 1
    (eos,) = doc.properties
    assert not eos.problems
    assert eos.n_draws == 3
    factor, of = widening(Calibrations(), "stress", [29])
    assert (eos.factor, eos.calibrated_by) == (factor, of)
    bulk = next(v for v in eos.values if v.name == "B0")
    # moduli are proportional to epsilon
    assert bulk.std == pytest.approx(0.1 * bulk.value * factor, rel=0.01)
    assert bulk.labeller == pytest.approx(1.2 * bulk.value, rel=0.01)
    assert bulk.foundation == pytest.approx(0.5 * bulk.value, rel=0.01)
    assert bulk.z == pytest.approx(-2.0 / factor, rel=0.03)
    volume = next(v for v in eos.values if v.name == "V0")
    assert volume.std < 1e-3 * volume.value
    assert set(eos.curves) == {"model", "std", "foundation", "labeller"}
    assert PropertiesDoc.model_validate_json(doc.model_dump_json()) == doc


def test_what_fails_is_noted_and_the_rest_goes_on(crystal):
    fields = ForceFields(
        crystal.calculator, Calibrations(), [Broken(), Broken()], labeller=Broken()
    )
    doc = compare(fields, crystal.atoms, [EquationOfStateFit(span=0.03)])
    (eos,) = doc.properties
    assert len(eos.problems) == 3
    assert "no convergence" in eos.problems[0]
    value = eos.values[0]
    assert value.value is not None
    assert (value.std, value.labeller, value.z) == (None, None, None)


def test_molecules_and_large_cells_are_refused(crystal):
    fields = ForceFields(crystal.calculator, Calibrations())
    with pytest.raises(ValueError, match="molecule"):
        compare(fields, molecule("H2O"), [])
    with pytest.raises(ValueError, match="more than 0"):
        compare(fields, crystal.atoms, [], max_atoms=0)


def test_a_fine_tuned_model():
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    structure = Structure(Lattice.tetragonal(3.96, 3.67), ["Cu", "Cu", "Au", "Au"], sites)
    root = get_settings().ARTIFACT_DIR
    model = toy_model(root, structure=structure, energy_offset=-273.0)
    calculator = build_calculator(model, ArtifactStore(root))
    fields = force_fields(calculator, Calibrations(), n_draws=3)
    assert len(fields.draws) == 3
    doc = compare(fields, structure.to_ase_atoms(), [EquationOfStateFit(), Elastic()])
    eos, elastic = doc.properties
    assert len(doc.structure) == 2
    energy = next(v for v in eos.values if v.name == "E0")
    # on the scale of the labels, and with the model's own calibrated std of the energy
    assert energy.value == pytest.approx(273.0 / 4, abs=5.0)
    atoms = doc.structure.to_ase_atoms()
    assert energy.std == pytest.approx(calculator.get_property("energy_std", atoms) / 2)
    assert energy.foundation == pytest.approx(energy.value, abs=2.0)
    assert {"C11", "C33", "C66"} <= {v.name for v in elastic.values}
    assert all(v.std is not None and math.isfinite(v.std) for v in elastic.values)
    assert np.shape(elastic.curves["std"]["tensor"]) == (6, 6)
