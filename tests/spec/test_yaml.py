"""Reading files: what is refused, and where it is said to be."""

from __future__ import annotations

import math
import time

import pytest

from onfly.spec.files import RunFile
from onfly.spec.yaml import ConfigError, load, parse_yaml, read_source

GOOD = """\
structure: POSCAR
threshold: 50 meV
labeller: emt
stages:
  - {n_steps: 10}
"""


def told(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load(path, RunFile)
    return [line.removeprefix(f"{path}") for line in str(error.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-1.5e+2", -150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("10_000", 10000),
        ("1:30", "1:30"),
        ("NO", "NO"),
        ("on", "on"),
        ("Y", "Y"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("0.3.0", "0.3.0"),
        ("e5", "e5"),
    ],
)
def test_scalars(text, value):
    data, _ = parse_yaml(f"key: {text}\n")
    assert data["key"] == value
    assert type(data["key"]) is type(value)


def test_lines_are_known(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1\nb:\n  - c: 2\n  - d\n")
    source = read_source(tmp_path / "x.yaml")
    assert source.lines == {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 0, "c"): 3, ("b", 1): 4}
    assert str(source.error(("b", 0, "c"), "no")).endswith("x.yaml, line 3: b.0.c: no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            ", line 3: not valid YAML: the key 'a' stands twice, first in line 1",
        ),
        ("a: {b: 1, b: 2}\n", ", line 1: not valid YAML: the key 'b' stands twice"),
        ("a: [1\n", ", line 2: not valid YAML"),
        ("a: &x [*x]\n", "an alias contains itself"),
        ("a: !!python/object:os.system {}\n", ", line 1: not valid YAML: could not determine"),
        ("[1, 2]\n", " must hold `key: value` lines"),
        ("", " must hold `key: value` lines"),
        ("1: 2\n", ": the key 1 is not a word"),
        ("? [a]\n: 1\n", ", line 1: not valid YAML: a key must be a word"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 40 levels deep"),
        (b"a: 1\nb: \xff\n", ", line 2: not UTF-8 text: save the file as UTF-8"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: but found another document"),
        ("a: \x00\n", ": not valid YAML"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    assert message in told(tmp_path, text)[0]


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]
    begin = time.process_time()
    assert (
        "more than 50000 values once its aliases are expanded"
        in told(tmp_path, "\n".join(lines))[0]
    )
    assert time.process_time() - begin < 1


def test_aliases_of_reasonable_size_are_expanded():
    data, _ = parse_yaml("a: &a {n_steps: 5}\nb: [*a, *a]\nc: {<<: *a, x: 1}\n")
    assert data["b"] == [{"n_steps": 5}] * 2
    assert data["c"] == {"n_steps": 5, "x": 1}


def test_a_file_that_is_not_there_or_too_large(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "no.yaml", RunFile)
    assert "at most 1000000" in told(tmp_path, "#" * 1_000_001)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "audit_intervall: 5",
            ", line 6: audit_intervall: unknown key: did you mean audit_interval?",
        ),
        (
            "audit_interval: -5",
            ", line 6: audit_interval: Input should be greater than or equal to 0",
        ),
        ("audit_interval: true", ", line 6: audit_interval: true is not possible here"),
        (
            "rounds: {lenght: 5}",
            ", line 6: rounds.lenght: unknown key; known keys are audit_growth, audit_interval",
        ),
        ("rounds: 5", ", line 6: rounds: Input should be a valid dictionary"),
        ("max_force: .nan", ", line 6: max_force: Input should be a finite number"),
        ("max_force: .inf", ", line 6: max_force: Input should be a finite number"),
        ("proof: {coverage: 1.0}", ", line 6: proof.coverage: Input should be less than 1"),
        ("calibration: {shape: 1}", ", line 6: calibration: shape and rate belong together"),
        ("max_probability: 2", ", line 6: max_probability: Input should be less than 1"),
        ("stopping: {min_audits: 3}", ", line 6: stopping.min_audits: has no meaning any more"),
        ("stopping: {closing_steps: -3}", ", line 6: stopping.closing_steps: Input should be"),
        ("labels: {labeller: lj}", ", line 3: labeller: is the same as labels.labeller"),
        ("mode: fast", ", line 6: mode: Input should be 'resident' or 'chained'"),
    ],
)
def test_mistakes_are_told_by_line_and_key(tmp_path, change, message):
    (line,) = told(tmp_path, GOOD + change + "\n")
    assert line.startswith(message)


def test_all_values_that_are_wrong_are_told_at_once(tmp_path):
    text = GOOD.replace("50 meV", "50").replace("n_steps: 10", "n_steps: 0, ensemble: npt")
    lines = told(tmp_path, text + "seed: x\n")
    assert [line.split(":")[0] for line in lines] == [", line 2", ", line 5", ", line 6"]
    assert "threshold: value 50 has no unit: write for example '50 eV'" in lines[0]


@pytest.mark.parametrize("key", ["structure", "threshold", "labeller", "stages"])
def test_what_is_missing_is_said(tmp_path, key):
    lines = GOOD.splitlines()
    if key == "stages":
        lines = lines[:3]
    text = "\n".join(line for line in lines if not line.startswith(key))
    (line,) = told(tmp_path, text + "\n")
    assert line.startswith(f": {key}: is missing (")


def test_an_impossible_stage_is_told_with_its_line(tmp_path):
    (line,) = told(tmp_path, GOOD + "  - {n_steps: 5, ensemble: npt}\n")
    assert line == ", line 6: stages.1: an npt stage needs a pressure in kbar (0.0 for ambient)"
