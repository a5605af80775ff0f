from __future__ import annotations

import pytest
from ase.build import bulk, molecule
from pymatgen.core import Molecule, Structure

from onfly.cli.yaml_file import ConfigError, load_config
from onfly.flows.config import RunConfig, read_structure

GOOD = """\
structure: POSCAR
threshold: 1 kcal/mol
labeller: emt
stages:
  - {n_steps: 10, temperature: 300}
  - n_steps: 10
    temperature: 800
"""


def load(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(path, RunConfig)


def test_a_good_file_becomes_a_maker(tmp_path):
    maker = load(tmp_path, GOOD).maker()
    assert maker.threshold_unit == "kcal/mol"
    assert [stage.temperature for stage in maker.segment_maker.stages] == [300, 800]
    assert maker.new_run(
        Structure(bulk("Cu").cell.array, ["Cu"], [[0, 0, 0]])
    ).threshold_ev == pytest.approx(0.0433641)


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("threshold: 1 kcal/mol", "threshold: 1"), 2, "not a number with a unit"),
        (("threshold: 1 kcal/mol", "threshold: 1 kcal"), 2, "unknown energy unit"),
        (("threshold: 1 kcal/mol", "threshold: -1 eV"), 2, "not positive"),
        (("labeller: emt", "labeller: vapsp"), 3, "vapsp"),
        (("temperature: 800", "temperatur: 800"), 7, "unknown key"),
        (("temperature: 800", "temperature: -1"), 7, "not positive"),
        (("temperature: 800", "ensemble: npt"), 6, "pressure"),
        (("n_steps: 10\n", "n_steps: 0\n"), 6, "greater than or equal to 1"),
        (("structure: POSCAR", "structure: POSCAR\nthreshhold: 2 eV"), 2, "known keys"),
        (("structure: POSCAR", "structure: POSCAR\nposterior: {kind: magic}"), 2, "magic"),
        (
            ("structure: POSCAR", "structure: POSCAR\nposterior: {kind: sghmc, n_member: 3}"),
            2,
            "n_member",
        ),
    ],
)
def test_a_mistake_names_its_line_and_what_to_do(tmp_path, change, line, words):
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(*change))
    assert f"line {line}:" in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_key_and_a_broken_file(tmp_path):
    with pytest.raises(ConfigError, match="threshold: is missing"):
        load(tmp_path, GOOD.replace("threshold: 1 kcal/mol\n", ""))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path, "a: [1")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "missing.yaml", RunConfig)


def test_structures_of_all_kinds(tmp_path):
    bulk("Cu", cubic=True).write(tmp_path / "POSCAR", format="vasp")
    assert isinstance(read_structure(tmp_path / "POSCAR"), Structure)
    molecule("CH3CH2OH").write(tmp_path / "a.xyz")
    assert isinstance(read_structure(tmp_path / "a.xyz"), Molecule)
    boxed = bulk("Cu", cubic=True)
    boxed.pbc = False
    boxed.write(tmp_path / "b.extxyz")
    with pytest.raises(ValueError, match="periodic: true"):
        read_structure(tmp_path / "b.extxyz")
    assert isinstance(read_structure(tmp_path / "b.extxyz", periodic=True), Structure)
    assert isinstance(read_structure(tmp_path / "b.extxyz", periodic=False), Molecule)
    with pytest.raises(ValueError, match="cannot be read"):
        read_structure(tmp_path / "none")
    with pytest.raises(ValueError, match="no cell"):
        read_structure(tmp_path / "a.xyz", periodic=True)
