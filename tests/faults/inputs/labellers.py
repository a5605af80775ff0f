"""Labellers that do not exist, are none, or cannot label the compound."""

from __future__ import annotations

from tests.faults.inputs.case import BOX, COPPER, Case, settings

__all__ = ["LABELLERS"]

_ASE = "onfly.labels.ase.AseLabelMaker"
_NAMED = """import sys
from ase.calculators.calculator import Calculator
class Quiet(Calculator):
    implemented_properties = ["energy", "forces"]
    def __init__(self, depth=1):
        super().__init__()
"""


def _name(name: str, value: str, says: str, **files: str) -> Case:
    return Case(
        name, says, {"run.yaml": settings({"labeller": value})} | {f"{k}.py": v for k, v in
                                                                     files.items()}
    )  # fmt: skip


def _kwargs(name: str, labeller: str, kwargs: str, says: str) -> Case:
    return _name(f"{labeller}: {name}", f"{{name: {labeller}, kwargs: {kwargs}}}", says)


def _calculator(name: str, path: str, says: str, kwargs: str = "{}", **files: str) -> Case:
    text = f"{{name: {_ASE}, kwargs: {{calculator: {path}, calculator_kwargs: {kwargs}}}}}"
    return _name(f"calculator {name}", text, says, **files)


def _incar(tags: str, says: str) -> Case:
    return _kwargs(f"INCAR {tags}", "vasp-pbe", f"{{user_incar_settings: {tags}}}", says)


LABELLERS = (
    _name("misspelt", "emtt", "unknown labeller 'emtt'"),
    _name("in capitals", "EMT", "unknown labeller 'EMT'"),
    _name("a misspelt VASP preset", "vasp-pbee", "unknown labeller 'vasp-pbee'"),
    _name("an empty name", "''", "labeller"),
    _name("a number", "5", "labeller"),
    _name("a list", "[emt]", "labeller"),
    _name("a mapping without a name", "{kwargs: {}}", "labeller.name: is missing"),
    _name("a mapping with another key", "{name: emt, keywords: {}}", "labeller.keywords: unknown"),
    _name("kwargs that are a list", "{name: emt, kwargs: [1]}", "labeller.kwargs"),
    _name("kwargs that are a word", "{name: emt, kwargs: some}", "labeller.kwargs"),
    _name("kwargs with a number as key", "{name: emt, kwargs: {5: 1}}", "kwargs|keyword"),
    _name("a shell", "os.system", "is no Maker"),
    _name("a command", "{name: os.system, kwargs: {command: touch pwned}}", "no Maker"),
    _name("subprocess", "{name: subprocess.run, kwargs: {args: [touch, pwned]}}", "is no Maker"),
    _name("eval", "{name: builtins.eval, kwargs: {source: '1'}}", "is no Maker"),
    _name("open", "{name: io.open, kwargs: {file: pwned, mode: w}}", "is no Maker"),
    _name("a module", "os.path", "is no Maker"),
    _name("a class that is no Maker", "pathlib.Path", "is no Maker"),
    _name("an ASE calculator", "ase.calculators.emt.EMT", "AseLabelMaker"),
    _name("a package that is not there", "nowhere.Maker", "cannot be imported"),
    _name("a class that is not there", "atomate2.vasp.jobs.core.StatikMaker", "cannot be imported"),
    _name("no identifier", "a..b", "not a dotted name"),
    _name("a path", "./labeller.py", "labeller"),
    _name("a dot", "'.'", "not a dotted name"),
    _name("a private word", "os.__dict__", "is no Maker|cannot be"),
    _name("a module that exits", "leaves.Maker", "called sys.exit",
          leaves="import sys\nsys.exit(3)"),
    _name("a module that fails", "fails.Maker", "cannot be imported", fails="1 / 0\n"),
    _name("a module with an error of syntax", "broken.Maker", "cannot be imported",
          broken="def x(:\n"),
    _name("jobflow's own Maker", "jobflow.core.maker.Maker", "labeller"),
    _name("a relaxation", "atomate2.vasp.jobs.core.RelaxMaker", "single point|relax"),
    _name("a double relaxation", "atomate2.vasp.flows.core.DoubleRelaxMaker", "single point|relax"),
    _name("MD of VASP", "atomate2.vasp.jobs.md.MDMaker", "single point|dynamics|moves"),
    _name("a non-self-consistent job", "atomate2.vasp.jobs.core.NonSCFMaker",
          "self-consistent|ICHARG"),
    _name("a relaxation of CP2K", "atomate2.cp2k.jobs.core.RelaxMaker", "moves the atoms"),
    _name("a relaxation of FHI-aims", "atomate2.aims.jobs.core.RelaxMaker", "moves the atoms"),
    _name("a force field that relaxes", "atomate2.forcefields.jobs.ForceFieldRelaxMaker",
          "relaxes|single point|force"),
    _name("phonons", "atomate2.vasp.flows.phonons.PhononMaker", "labeller"),
    _name("Q-Chem", "atomate2.qchem.jobs.core.SinglePointMaker", "qchem|cannot be"),
    _kwargs("unknown keyword", "emt", "{no_such: 1}", "no_such"),
    _kwargs("misspelt keyword", "emt", "{asap_cutof: true}", "did you mean 'asap_cutoff'"),
    _kwargs("nan", "lj", "{sigma: .nan}", "sigma is nan"),
    _kwargs("inf", "lj", "{epsilon: .inf}", "epsilon is inf"),
    _kwargs("a word for a number", "lj", "{sigma: wide}", "sigma"),
    _kwargs("calculator_kwargs as a list", "emt", "{calculator_kwargs: [1]}", "must be a mapping"),
    _kwargs("another calculator", "emt", "{calculator: os.system}", "no ASE calculator|os.system"),
    _kwargs("unknown keyword", "gfn1-xtb", "{electronic_temp: 5}", "electronic_temp"),
    _kwargs("nan", "gfn1-xtb", "{electronic_temperature: .nan}", "electronic_temperature is nan"),
    _kwargs("an unknown method", "gfn1-xtb", "{method: GFN7-xTB}", "GFN7-xTB"),
    _kwargs("unknown keyword", "vasp-pbe", "{no_such: 1}", "unexpected keyword 'no_such'"),
    _kwargs("INCAR beside", "vasp-pbe", "{ENCUT: 500}", "user_incar_settings"),
    _kwargs("mesh with 0", "vasp-pbe", "{kpoints_mesh: [2, 0, 2]}", "mesh .*whole numbers"),
    _kwargs("mesh with -1", "vasp-pbe", "{kpoints_mesh: [2, -1, 2]}", "mesh .*whole numbers"),
    _kwargs("mesh of two", "vasp-pbe", "{kpoints_mesh: [2, 2]}", "mesh .*whole numbers"),
    _kwargs("mesh with half", "vasp-pbe", "{kpoints_mesh: [2, 2.5, 2]}", "mesh .*whole numbers"),
    _kwargs("mesh of words", "vasp-pbe", "{kpoints_mesh: dense}", "mesh .*whole numbers"),
    _kwargs("mesh with nan", "vasp-pbe", "{kpoints_mesh: [.nan, 2, 2]}", "kpoints_mesh.0 is nan"),
    _kwargs("INCAR as a list", "vasp-pbe", "{user_incar_settings: [NSW]}", "user_incar_settings"),
    _incar("{NSW: 20}", "NSW = 20"),
    _incar("{nsw: 20}", "NSW = 20"),
    _incar('{ENCUT: "five hundred"}', "ENCUT = 'five hundred'"),
    _incar("{ENCUT: -500}", "ENCUT = -500"),
    _incar("{ENCUT: .nan}", "user_incar_settings.ENCUT is nan"),
    _incar("{ENCUT: .inf}", "user_incar_settings.ENCUT is inf"),
    _incar("{ENCUT: [500]}", "ENCUT"),
    _incar("{EDIFF: -1.0}", "EDIFF = -1.0"),
    _incar("{EDIFF: tight}", "EDIFF = 'tight'"),
    _incar("{SIGMA: -0.1}", "SIGMA = -0.1"),
    _incar("{NELM: 1}", "NELM = 1"),
    _incar("{NELM: many}", "NELM = 'many'"),
    _incar("{IBRION: 6}", "IBRION = 6"),
    _incar("{ICHARG: 11}", "ICHARG = 11"),
    _incar("{ALGO: None}", "ALGO"),
    _incar("{ALGO: Eigenval}", "ALGO = Eigenval"),
    _incar("{NBANDS: 0}", "NBANDS = 0"),
    _incar("{KSPACING: 0}", "KSPACING = 0"),
    _incar("{ISPIN: up}", "ISPIN = 'up'"),
    Case("vasp-pbe: no POTCAR and no VASP", r"POTCARs are not there[\s\S]*set VASP_CMD",
         {"run.yaml": settings({"labeller": "vasp-pbe"})}),
    Case("vasp-pbe: a molecule", "needs a cell",
         {"x.xyz": "2\n\nH 0 0 0\nH 0 0 0.74\n",
          "run.yaml": settings({"structure": "x.xyz", "labeller": "vasp-pbe"})}),
    Case("vasp-pbe: npt without stress", "ISIF",
         {"run.yaml": settings({
             "labeller": "{name: vasp-pbe, kwargs: {user_incar_settings: {ISIF: 0}}}",
             "stages": "[{n_steps: 9, ensemble: npt, pressure: 0.0}]"})}),
    Case("vasp-pbe: ISIF is a word", "ISIF",
         {"run.yaml": settings({
             "labeller": "{name: vasp-pbe, kwargs: {user_incar_settings: {ISIF: some}}}",
             "stages": "[{n_steps: 9, ensemble: npt, pressure: 0.0}]"})}),
    Case("CP2K is not there", "CP2K_CMD",
         {"run.yaml": settings({"labeller": "atomate2.cp2k.jobs.core.StaticMaker"})}),
    Case("FHI-aims is not there", "AIMS_CMD",
         {"run.yaml": settings({"labeller": "atomate2.aims.jobs.core.StaticMaker"})}),
    Case("emt does not know oxygen and sodium", "does not know Na",
         {"POSCAR": COPPER.replace("Cu", "Na"), "run.yaml": settings({})}),
    Case("xtb does not know plutonium", "does not know Pu|needs the package",
         {"POSCAR": COPPER.replace("Cu", "Pu"), "run.yaml": settings({"labeller": "gfn1-xtb"})}),
    Case("PySCF and a crystal", "is for molecules|needs the package",
         {"x.xyz": BOX, "run.yaml": settings({"structure": "x.xyz", "labeller": "pyscf-pbe"})}),
    _calculator("os.system", "os.system", "no ASE calculator", "{command: touch pwned}"),
    _calculator("subprocess.Popen", "subprocess.Popen", "no ASE calculator", "{args: touch pwned}"),
    _calculator("a class", "pathlib.Path", "no ASE calculator"),
    _calculator("an Atoms", "ase.Atoms", "no ASE calculator"),
    _calculator("a package that is not there", "nowhere.Calculator", "cannot be imported"),
    _calculator("a name that is not there", "ase.calculators.emt.EMTT", "cannot be imported"),
    _calculator("a word", "emt", "dotted name"),
    _calculator("a number", "5", "calculator"),
    _calculator("null", "null", "calculator"),
    _calculator("a keyword too many", "quiet.Quiet", "wide", "{wide: 1}", quiet=_NAMED),
    _calculator("a keyword that is nan", "quiet.Quiet", "depth is nan", "{depth: .nan}",
                quiet=_NAMED),
    _calculator("that exits at its import", "leaves.Quiet", "called sys.exit",
                leaves="raise SystemExit(0)\n"),
    _calculator("that cannot be imported", "fails.Quiet", "cannot be imported",
                fails="raise RuntimeError('no licence')\n"),
    Case("calculator without stress for npt", "computes no stress",
         {"quiet.py": _NAMED, "run.yaml": settings({
             "labeller": f"{{name: {_ASE}, kwargs: {{calculator: quiet.Quiet}}}}",
             "stages": "[{n_steps: 9, ensemble: npt, pressure: 0.0}]"})}),
    _name("AseLabelMaker with a keyword too many",
          f"{{name: {_ASE}, kwargs: {{calculator: ase.calculators.emt.EMT, steps: 5}}}}", "steps"),
)  # fmt: skip
