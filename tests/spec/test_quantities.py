"""Numbers with units."""

from __future__ import annotations

import ase.units
import pytest

from onfly import units
from onfly.spec.quantities import INTERNAL_UNITS, format_quantity, known_units, parse_quantity


def test_factors_are_those_of_ase():
    per = units.EV_PER_ENERGY_UNIT
    assert ase.units.kcal / ase.units.mol == units.EV_PER_KCAL_MOL == per["kcal/mol"]
    assert per["kJ/mol"] == ase.units.kJ / ase.units.mol
    assert per["Ha"] == ase.units.Hartree
    assert ase.units.GPa == units.GPA
    assert ase.units.GPa / 10 == pytest.approx(units.KBAR, rel=1e-15)
    assert 1 / ase.units.Bohr == units.EV_PER_BOHR_FORCE


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("50 meV", "energy", 0.05),
        ("50meV", "energy", 0.05),
        ("5 kcal/mol", "energy", 5 * units.EV_PER_KCAL_MOL),
        ("1e-3 Ha", "energy", 1e-3 * ase.units.Hartree),
        ("5 meV/atom", "energy_per_atom", 0.005),
        ("100 meV/Å", "force", 0.1),
        ("100 meV/A", "force", 0.1),
        ("100 meV/Ang", "force", 0.1),
        ("100 meV/\u212b", "force", 0.1),  # the Ångström sign
        ("1 kcal/mol/Å", "force", units.EV_PER_KCAL_MOL),
        ("1 Ha/Bohr", "force", ase.units.Hartree / ase.units.Bohr),
        ("1 kbar", "stress", ase.units.GPa / 10),
        ("0.5 GPa", "stress", ase.units.GPa / 2),
        ("1 eV/Å³", "stress", 1.0),
        ("1 eV/A^3", "stress", 1.0),
    ],
)
def test_parse(text, quantity, value):
    assert parse_quantity(text, quantity) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "quantity", "message"),
    [
        ("50", "energy", "has no unit: write for example '50 eV'"),
        ("meV", "energy", "not a number with a unit, such as '50 meV'"),
        ("50 meV/Å", "energy", "unknown unit 'meV/Å' of energy"),
        ("50 meV", "force", "use one of eV/Å, meV/Å"),
        ("1 bar", "stress", "use one of kbar, GPa"),
        ("1e999 eV", "energy", "not finite"),
        ("nan eV", "energy", "not a number"),
    ],
)
def test_what_is_wrong_is_said(text, quantity, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_quantity(text, quantity)


def test_all_offered_units_are_understood():
    for quantity in INTERNAL_UNITS:
        for unit in known_units(quantity):
            assert parse_quantity(f"1 {unit}", quantity) > 0
        assert parse_quantity(format_quantity(1 / 3, quantity), quantity) == 1 / 3
