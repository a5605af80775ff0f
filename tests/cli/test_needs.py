"""`onfly doctor RUN.yaml`: what a file needs, and what of it is missing."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk
from atomate2 import SETTINGS as ATOMATE2
from typer.testing import CliRunner

from onfly.cli import doctor

RUN = """\
structure: POSCAR
foundation_model: toy
labeller: emt
threshold: 50 meV
stages: [{n_steps: 10}]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setattr(ATOMATE2, "VASP_CMD", "no_such_vasp")  # read once, when imported
    monkeypatch.chdir(tmp_path)
    bulk("Cu", cubic=True).write(tmp_path / "POSCAR", format="vasp")
    bulk("NaCl", "rocksalt", 5.64, cubic=True).write(tmp_path / "salt.vasp", format="vasp")
    return tmp_path


def findings(folder, text, code):
    (folder / "run.yaml").write_text(text)
    result = CliRunner().invoke(doctor.app, ["run.yaml", "--json"])
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    assert "foundation models" not in {f["check"] for f in found}, "of no interest to this file"
    return found


def missing(found, level="error"):
    return [f for f in found if f["level"] == level and f["check"] in ("missing", "labeller")]


def test_nothing_is_missing(folder):
    found = findings(folder, RUN, 0)
    assert found[-1]["message"] == "nothing is missing for this file"
    assert "foundation toy, labeller emt, posterior last_layer" in found[-2]["message"]


def test_a_package_that_is_not_installed(folder, monkeypatch):
    monkeypatch.setattr("onfly.potentials.families.find_spec", lambda name: None)
    (problem,) = missing(findings(folder, RUN.replace("toy", "sevennet-0"), 1))
    assert "needs the package sevenn" in problem["message"]
    assert problem["remedy"].startswith('pip install "onfly[nequip]"')


def test_an_element_that_the_labeller_does_not_know(folder):
    (problem,) = missing(findings(folder, RUN.replace("POSCAR", "salt.vasp"), 1))
    assert "does not know Cl, Na" in problem["message"]


def test_a_file_with_an_error(folder):
    found = findings(folder, RUN.replace("threshold", "treshold"), 1)
    assert "threshold" in found[-1]["message"]
    assert found[-1]["level"] == "error"


def test_a_structure_that_is_not_there(folder):
    found = findings(folder, RUN.replace("POSCAR", "nowhere.cif"), 1)
    assert "nowhere.cif" in found[-1]["message"]


def test_what_only_the_labelling_workers_need_is_a_note(folder):
    vasp = RUN.replace("emt", "vasp-pbe")
    assert any("no_such_vasp" in f["message"] for f in missing(findings(folder, vasp, 1)))
    found = findings(folder, vasp + "mode: chained\n", 0)
    notes = missing(found, "note")
    assert any("no_such_vasp" in f["message"] for f in notes)
    assert all("workers that label" in f["remedy"] for f in notes)


def test_a_campaign_names_the_compounds_that_lack_something(folder):
    text = RUN.replace("structure: POSCAR", "campaign: c\nstructures: [POSCAR, salt.vasp]")
    (problem,) = missing(findings(folder, text + "mode: resident\n", 1))
    assert "does not know Cl, Na" in problem["message"]
    assert "NaCl" in problem["message"].split("(")[-1]
