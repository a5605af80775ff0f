from __future__ import annotations

import pytest

from onfly.labels.ase import AseLabelMaker
from onfly.labels.extract import extract_label
from onfly.labels.input_hash import hash_settings, settings_of
from onfly.labels.maker import maker_for_run, maker_hash

INCAR = {
    "ENCUT": 520,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "LDAU": True,
    "LDAUU": [3.9, 0, 0],
    "LDAUL": [2, 0, 0],
    "ALGO": "Normal",
    "MAGMOM": [5.0, 0.6, 0.6],
}
KPOINTS = {"generation_style": "Gamma", "kpoints": [[2, 2, 2]], "usershift": [0, 0, 0]}


def vasp_hash(incar=None, kpoints=None, potcar=("Mn_pv", "La", "O")):
    source = {
        "incar": INCAR | (incar or {}),
        "kpoints": KPOINTS | (kpoints or {}),
        "potcar": list(potcar),
        "potcar_type": ["PAW_PBE"],
    }
    return hash_settings(settings_of({"calcs_reversed": [{"input": source}]}, "vasp"))


@pytest.mark.parametrize(
    "change",
    [
        {"ALGO": "All"},
        {"NELM": 400},
        {"AMIX": 0.1, "BMIX": 1e-4},
        {"NCORE": 4},
        {"ISTART": 1},
        {"LWAVE": True},
        {"ENCUT": 520.0},
        {"NBANDS": 100},
        {"ISYM": 0},
    ],
)
def test_tags_of_the_run_do_not_count(change):
    assert vasp_hash(change) == vasp_hash()


@pytest.mark.parametrize(
    "change",
    [
        {"ENCUT": 500},
        {"SIGMA": 0.1},
        {"ISMEAR": 1},
        {"LREAL": "Auto"},
        {"LDAUU": [4.0, 0, 0]},
        {"LDAU": False},
        {"METAGGA": "R2SCAN"},
        {"IVDW": 12},
        {"KSPACING": 0.2},
        {"MAGMOM": [-5.0, 0.6, 0.6]},
        {"SOME_NEW_TAG": 1},
    ],
)
def test_tags_of_the_surface_count(change):
    assert vasp_hash(change) != vasp_hash()


def test_mesh_and_potentials_count():
    assert vasp_hash(kpoints={"kpoints": [[3, 2, 2]]}) != vasp_hash()
    assert vasp_hash(kpoints={"generation_style": "Monkhorst"}) != vasp_hash()
    assert vasp_hash(potcar=("Mn", "La", "O")) != vasp_hash()


def test_order_of_species_does_not_count():
    other = {"LDAUU": [0, 0, 3.9], "LDAUL": [0, 0, 2]}
    assert vasp_hash(other, potcar=("O", "La", "Mn_pv")) == vasp_hash()
    assert vasp_hash(other) != vasp_hash()


def test_u_lists_without_u_do_not_count():
    off = {"LDAU": False, "LDAUU": [0, 0, 0], "LDAUL": [0, 0, 0]}
    assert vasp_hash(off) == vasp_hash(off | {"LDAUU": [1, 0, 0]})


def test_order_of_keys_and_containers_do_not_count():
    assert hash_settings({"a": 1, "b": (1, 2)}) == hash_settings({"b": [1.0, 2.0], "a": 1.0})
    assert hash_settings({"a": True}) != hash_settings({"a": 1})


def test_unrecorded_settings_have_no_hash():
    assert settings_of({"output": {}}, "vasp") is None


def emt(**keywords):
    return AseLabelMaker(calculator="ase.calculators.lj.LennardJones", calculator_kwargs=keywords)


def test_hash_of_a_maker_is_the_hash_of_its_labels(copper):
    maker = emt(sigma=2.4, rc=5.0)
    label = extract_label(maker.run(copper))
    assert label.input_hash == maker_hash(maker)
    assert maker_hash(emt(sigma=2.5, rc=5.0)) != label.input_hash
    assert maker_hash(AseLabelMaker(calculator="ase.calculators.emt.EMT")) != label.input_hash


def test_verbosity_is_no_setting_of_the_surface():
    method = {"method": "GFN1-xTB"}
    loud = AseLabelMaker(calculator_kwargs=method | {"verbosity": 2, "max_iterations": 500})
    assert maker_hash(loud) == maker_hash(AseLabelMaker(calculator_kwargs=method))
    assert maker_hash(loud) != maker_hash(AseLabelMaker(calculator_kwargs={"method": "GFN2-xTB"}))


def test_makers_without_a_state_of_the_run_stay_as_they_are(copper):
    maker = emt()
    assert maker_for_run(maker, copper) is maker
