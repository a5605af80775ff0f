"""What is wrong with a labeller is told before any work, and nothing is run to find it."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest
from ase.calculators.emt import EMT
from atomate2.ase.jobs import AseMaker, LennardJonesRelaxMaker, LennardJonesStaticMaker
from atomate2.cp2k.jobs.core import RelaxMaker as Cp2kRelaxMaker
from atomate2.cp2k.jobs.core import StaticMaker as Cp2kStaticMaker
from atomate2.forcefields.jobs import ForceFieldRelaxMaker, ForceFieldStaticMaker
from atomate2.vasp.flows.core import DoubleRelaxMaker
from atomate2.vasp.jobs.core import NonSCFMaker, RelaxMaker, StaticMaker
from pymatgen.core import Molecule

from onfly.labels.ase import AseLabelMaker
from onfly.labels.check import check_labeller
from onfly.labels.dotted import calculator_class, maker_class
from onfly.labels.presets import label_maker
from onfly.labels.vasp_inputs import incar_problems, mesh_problems
from onfly.testing.vasp_setup import standin_kwargs, write_potcars

nan, inf = float("nan"), float("inf")


def ase(calculator, **keywords):
    return AseLabelMaker(calculator=calculator, calculator_kwargs=keywords)


class EnergyOnly(AseMaker):
    @property
    def calculator(self):
        return EMT()


def vasp(incar=None, **fields):
    maker = StaticMaker(**(standin_kwargs() | fields))
    maker.input_set_generator.user_incar_settings.update(incar or {})
    return maker


BAD = {
    "no maker": (lambda: 42, "is a int, not a Maker"),
    "a calculator": (EMT, "AseLabelMaker"),
    "a class": (lambda: StaticMaker, "not a Maker"),
    "relaxation": (lambda: RelaxMaker(**standin_kwargs()), "NSW = 99"),
    "relaxations": (DoubleRelaxMaker, "NSW = 99"),
    "fixed density": (lambda: NonSCFMaker(**standin_kwargs()), "ICHARG = 11"),
    "NSW 20": (lambda: vasp({"NSW": 20}), "NSW = 20 makes a relaxation"),
    "ENCUT in words": (lambda: vasp({"ENCUT": "five hundred"}), "ENCUT = 'five hundred'"),
    "ENCUT nan": (lambda: vasp({"ENCUT": nan}), "ENCUT = nan"),
    "ALGO None": (lambda: vasp({"ALGO": "None"}), "not self-consistent"),
    "phonons": (lambda: vasp({"IBRION": 6, "NSW": 0}), "phonon"),
    "no VASP": (
        lambda: vasp(run_vasp_kwargs={"vasp_cmd": "no_such_vasp"}),
        "'no_such_vasp' is not",
    ),
    "no VASP behind env": (
        lambda: vasp(run_vasp_kwargs={"vasp_cmd": "env vasp_none_here"}),
        "'vasp_none_here' is not there",
    ),
    "empty command": (lambda: vasp(run_vasp_kwargs={"vasp_cmd": ""}), "is empty"),
    "unclosed quote": (lambda: vasp(run_vasp_kwargs={"vasp_cmd": "'x"}), "cannot be read"),
    "no POTCAR": (lambda: vasp(write_input_set_kwargs={}), "POTCARs are not there"),
    "CP2K relaxation": (Cp2kRelaxMaker, "moves the atoms"),
    "no CP2K": (Cp2kStaticMaker, "'cp2k.psmp' is not there"),
    "force field relaxation": (
        lambda: ForceFieldRelaxMaker(force_field_name="CHGNet"),
        r"relaxes the structure \(500 steps\)",
    ),
    "LJ relaxation": (LennardJonesRelaxMaker, "set steps=1"),
    "no forces": (EnergyOnly, "no forces"),
    "command": (lambda: ase("os.system", command="touch called"), "nothing of it was called"),
    "subprocess": (lambda: ase("subprocess.run", args="touch called"), "nothing of it was"),
    "exec": (lambda: ase("builtins.exec", source="open('called', 'w')"), "nothing of it was"),
    "a class of another kind": (lambda: ase("pathlib.Path"), "no ASE calculator"),
    "a function that says nothing": (lambda: ase("os.path.join"), "no ASE calculator"),
    "a module": (lambda: ase("ase.calculators"), "no ASE calculator"),
    "no package": (lambda: ase("no.such.Calc"), "cannot be imported"),
    "no attribute": (lambda: ase("ase.calculators.emt.EMTT"), "cannot be imported"),
    "no name": (lambda: ase("ase. calculators.emt.EMT; x"), "not a dotted name"),
    "dots": (lambda: ase("..os.system"), "not a dotted name"),
    "keyword": (lambda: ase("ase.calculators.emt.EMT", asap_cutof=True), "'asap_cutoff'"),
    "LJ keyword": (lambda: ase("ase.calculators.lj.LennardJones", sigmma=2), "'sigma'"),
    "LJ unknown": (lambda: ase("ase.calculators.lj.LennardJones", zzz=2), "it knows"),
    "LJ nan": (lambda: ase("ase.calculators.lj.LennardJones", sigma=nan), "sigma is nan"),
    "LJ inf": (lambda: ase("ase.calculators.lj.LennardJones", rc=inf), "rc is inf"),
    "nested nan": (
        lambda: ase("ase.calculators.lj.LennardJones", rc={"a": [1, nan]}),
        r"rc\.a\.1 is nan",
    ),
    "not JSON": (lambda: ase("ase.calculators.emt.EMT", asap_cutoff={1, 2}), "written to a file"),
    "EMT for salt": (lambda: label_maker("emt"), "does not know Cl, Na"),
    "PySCF for crystals": (
        lambda: ase("onfly.labels.pyscf_calculator.PySCF"),
        "is for molecules",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_problem_is_told(nacl, monkeypatch, tmp_path, case):
    def never(*args, **kwargs):
        raise AssertionError("something was run")

    monkeypatch.setattr(subprocess, "Popen", never)
    make, message = BAD[case]
    problems = check_labeller(make(), nacl)
    assert problems
    assert any(re.search(message, p) for p in problems), problems
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        vasp,
        lambda: label_maker("vasp-pbe", **standin_kwargs()),
        lambda: label_maker("vasp-r2scan", **standin_kwargs()),
        LennardJonesStaticMaker,
        lambda: ForceFieldStaticMaker(force_field_name="CHGNet"),
        lambda: label_maker("lj"),
    ],
)
def test_good_labellers_pass(nacl, make):
    assert check_labeller(make(), nacl) == []


def test_programs_and_packages_count_only_where_labels_are_made(nacl):
    for make in (StaticMaker, Cp2kStaticMaker, lambda: ase("no_such_package.Calc")):
        assert check_labeller(make(), nacl)
        assert check_labeller(make(), nacl, here=False) == []
    assert check_labeller(ase("os.system"), nacl, here=False)


def test_potcars_are_looked_for(nacl, tmp_path, monkeypatch):
    from pymatgen.core import SETTINGS

    maker = label_maker("vasp-pbe", **(standin_kwargs() | {"write_input_set_kwargs": {}}))
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    assert "POTCAR" in check_labeller(maker, nacl)[0]
    write_potcars(tmp_path, ["Na_pv", "Cl"])
    assert check_labeller(maker, nacl) == []


def test_structure_is_checked_as_well(nacl, water):
    nacl.translate_sites([0], [np.nan] * 3, to_unit_cell=False)
    assert "nan" in check_labeller(label_maker("lj"), nacl)[0]
    assert "needs a cell" in check_labeller(vasp(), water)[0]
    assert check_labeller(label_maker("emt"), water) == []
    assert "limit of 2" in check_labeller(label_maker("emt"), water, max_atoms=2)[0]
    heavy = Molecule(["Fr"], [[0, 0, 0]])
    assert "does not know Fr" in check_labeller(ase("tblite.ase.TBLite"), heavy)[0]


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ENCUT", "five hundred"),
        ("ENCUT", -1),
        ("ENCUT", [500]),
        ("ENCUT", inf),
        ("EDIFF", 0),
        ("EDIFF", "small"),
        ("SIGMA", -0.1),
        ("SIGMA", nan),
        ("NELM", 1),
        ("NELM", "many"),
        ("NSW", 1),
        ("NSW", "20"),
        ("ISMEAR", "gauss"),
        ("ISPIN", 0),
        ("ICHARG", 10),
        ("ICHARG", "11"),
        ("IBRION", 8),
        ("ALGO", "Eigenval"),
        ("KSPACING", 0),
        ("nsw", 5),
    ],
)
def test_tags_that_make_no_label(tag, value):
    assert len(incar_problems({tag: value})) >= 1
    with pytest.raises(ValueError, match=tag.upper()):
        label_maker("vasp-pbe", user_incar_settings={tag: value})


@pytest.mark.parametrize(
    "tags",
    [
        {"ENCUT": 520, "EDIFF": 1e-6, "ISMEAR": -5, "SIGMA": 0.05, "NSW": 0, "ICHARG": 2},
        {"ENCUT": "520", "ALGO": "Normal", "IBRION": -1, "NELM": 200},
        {"ALGO": "N", "GGA": None, "ENCUT": None, "LREAL": "Auto"},
    ],
)
def test_tags_that_do(tags):
    assert incar_problems(tags) == []


@pytest.mark.parametrize(
    "mesh", [(2, 0, 2), (2, 2), (2, 2, 2, 2), (-1, 1, 1), (1.5, 1, 1), ("a", 1, 1), 3, (nan, 1, 1)]
)
def test_meshes_that_cannot_be(mesh):
    assert mesh_problems(mesh)
    with pytest.raises(ValueError, match="k-points"):
        label_maker("vasp-pbe", kpoints_mesh=mesh)


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("lj", {"sigmma": 3}, "did you mean 'sigma'"),
        ("lj", {"sigma": nan}, "sigma is nan"),
        ("lj", {"calculator_kwargs": 3}, "must be a mapping"),
        ("emt", {"zzz": 1}, "unexpected keyword 'zzz'"),
        ("vasp-pbe", {"ENCUT": 500}, "user_incar_settings"),
        ("vasp-pbe", {"kpoint_mesh": (2, 2, 2)}, "kpoints_mesh"),
        ("atomate2.cp2k.jobs.core.StaticMaker", {"nam": "x"}, "did you mean 'name'"),
        ("os.system", {"command": "touch called"}, "is no Maker"),
        ("subprocess.Popen", {"args": "touch called"}, "is no Maker"),
        ("builtins.print", {}, "is no Maker"),
        ("jobflow.job", {}, "is no Maker"),
        ("jobflow.Flow", {"jobs": []}, "is no Maker"),
        ("os..system", {}, "not a dotted name"),
        ("a.b c", {}, "not a dotted name"),
        ("no.such.Maker", {}, "cannot be imported"),
        ("nonsense", {}, "unknown labeller"),
    ],
)
def test_names_and_keywords_are_refused_before_anything_is_called(
    tmp_path, name, keywords, message
):
    with pytest.raises(ValueError, match=message):
        label_maker(name, **keywords)
    assert not (tmp_path / "called").exists()


def test_a_module_that_exits_when_imported(tmp_path, monkeypatch):
    (tmp_path / "exits_at_import.py").write_text("import sys; sys.exit(4)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for look_up in (maker_class, calculator_class):
        with pytest.raises(ValueError, match=r"sys.exit\(4\)"):
            look_up("exits_at_import.Calculator")


def test_functions_that_say_that_they_return_a_calculator():
    assert calculator_class("onfly.calculators.load_calculator").__name__ == "load_calculator"
    assert calculator_class("ase.calculators.emt.EMT") is EMT
