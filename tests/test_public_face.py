"""The names that `import onfly` offers: each is described, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import shutil
from pathlib import Path

import pytest

import onfly

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAMES = sorted(set(onfly.__all__) - {"__version__"})
UNITS = re.compile(r"\b(eV|meV|kcal/mol|K|fs|kbar)\b")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with the library of version 0.1, which holds one model."""
    shutil.copytree(ROOT / "tests/data/v0_1", tmp_path / "data")
    monkeypatch.setenv("ONFLY_ARTIFACT_DIR", str(tmp_path / "data/artifacts"))
    monkeypatch.setenv("ONFLY_STORE_DIR", str(tmp_path / "data/store"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_an_example_that_runs(name, machine):
    found = getattr(onfly, name)
    module = importlib.import_module(found.__module__)
    tests = doctest.DocTestFinder(recurse=False).find(found, name, module=module)
    assert sum(len(test.examples) for test in tests) > 0, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in tests:
        assert runner.run(test).failed == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_name_says_units_and_errors(name):
    text = inspect.getdoc(getattr(onfly, name)) or ""
    assert "\nRaises\n------\n" in text, f"{name} does not say what goes wrong"
    # a library of models has no quantity of its own
    assert UNITS.search(text), f"{name} does not say its units"


def test_the_method_is_cited():
    assert "10.1039/d5dd00392j" in onfly.OnTheFlyMaker.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described(name):
    found = getattr(onfly, name)
    text = inspect.getdoc(found) or ""
    described = set(re.findall(r"^(\S[^\n]*?)$", text, re.M))
    words = {word.strip(", \\*") for line in described for word in line.split(",")}
    fields = getattr(found, "model_fields", None)
    if fields is not None:  # each field says it in its own description
        assert all(field.description for field in fields.values())
        return
    for parameter in inspect.signature(found).parameters:
        assert parameter in words, f"{name}: {parameter}"


MODULES = sorted(
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "src/onfly").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_modules(name, machine):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert result.failed == 0
