from __future__ import annotations

import importlib.util

import pytest
from atomate2.cp2k.jobs.core import StaticMaker
from monty.json import MontyDecoder, jsanitize

from onfly.labels import presets
from onfly.labels.extract import extract_label
from onfly.labels.presets import label_maker, preset_names
from onfly.labels.validate import validate_label

has_tblite = importlib.util.find_spec("tblite") is not None


def test_keywords_go_where_they_belong():
    maker = label_maker("lj", sigma=2.0, time_limit=5.0, name="mine")
    assert (maker.time_limit, maker.name) == (5.0, "mine")
    assert maker.calculator_kwargs["sigma"] == 2.0
    assert maker.calculator_kwargs["epsilon"] == 0.0104
    both = label_maker("lj", calculator_kwargs={"rc": 5.0}, sigma=2.0)
    assert (both.calculator_kwargs["rc"], both.calculator_kwargs["sigma"]) == (5.0, 2.0)
    assert label_maker("lj").calculator_kwargs["sigma"] == 3.4


@pytest.mark.parametrize("name", ["emt", "lj", "vasp-mp-pbe-u", "vasp-r2scan"])
def test_presets_survive_serialisation(name):
    maker = label_maker(name)
    again = MontyDecoder().process_decoded(jsanitize(maker.as_dict(), strict=True))
    assert type(again) is type(maker)
    assert jsanitize(again.as_dict(), strict=True) == jsanitize(maker.as_dict(), strict=True)


def test_any_atomate2_maker_by_its_path():
    maker = label_maker("atomate2.cp2k.jobs.core.StaticMaker", name="x")
    assert type(maker) is StaticMaker
    assert maker.name == "x"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="gfn1-xtb") as caught:
        label_maker("gfn3")
    for name in preset_names():
        assert name in str(caught.value)
    with pytest.raises(ValueError, match="cannot be imported"):
        label_maker("atomate2.no.such.Maker")
    with pytest.raises(ValueError, match="AseLabelMaker"):
        label_maker("ase.calculators.emt.EMT")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(presets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "onfly\[tblite\]"'):
        label_maker("gfn1-xtb")


@pytest.mark.skipif(not has_tblite, reason="tblite is not installed")
def test_gfn1_forces_and_stress_are_derivatives_of_its_energy(nacl):
    maker = label_maker("gfn1-xtb", accuracy=0.01)
    label = extract_label(maker.run(nacl), requested=nacl)
    validate_label(label, requested=nacl)

    def energy(structure):
        return maker.run(structure).output.energy

    step = 1e-3
    moved = []
    for sign in (1, -1):
        copy = nacl.copy()
        copy.translate_sites([2], [0, sign * step, 0], frac_coords=False, to_unit_cell=False)
        moved.append(energy(copy))
    assert label.forces[2][1] == pytest.approx(-(moved[0] - moved[1]) / (2 * step), abs=2e-3)
    strained = [nacl.apply_strain([sign * step, 0, 0], inplace=False) for sign in (1, -1)]
    slope = (energy(strained[0]) - energy(strained[1])) / (2 * step)
    assert label.stress[0][0] == pytest.approx(slope / nacl.volume, abs=1e-4)


@pytest.mark.skipif(not has_tblite, reason="tblite is not installed")
def test_label_does_not_depend_on_the_label_before(nacl, copper):
    maker = label_maker("gfn1-xtb")
    alone = maker.run(nacl).output
    maker.run(copper)
    again = maker.run(nacl).output
    assert (again.energy, again.forces) == (alone.energy, alone.forces)


@pytest.mark.skipif(not has_tblite, reason="tblite is not installed")
def test_unconverged_scf_of_tblite_is_refused(nacl):
    from onfly.labels.errors import LabelError

    with pytest.raises(LabelError, match=r"SCF|converge"):
        label_maker("gfn1-xtb", max_iterations=2).run(nacl)
