"""The names that the API reference lists as public are described in full, with an example.

A name is public if a page of ``docs/api`` lists it or its module; `internals.md` lists those for
people who change the code. The examples are run by `tests/test_public_face.py`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

import onfly

ROOT = Path(__file__).parents[1]
UNIT = re.compile(r"(?<![A-Za-z])(eV|meV|Å|K|fs|ps|kbar|MB|GB|s)(?![A-Za-z])|unit\b")
# parameters that have a unit wherever they stand
WITH_UNIT = {
    "energy", "energy_std", "forces", "forces_std", "stress", "stress_std", "positions", "cutoff",
    "threshold", "temperature", "time_step", "time_limit", "margin", "r_max", "volume",
}  # fmt: skip


def objects(page: Path) -> dict[str, Any]:
    """Return the classes and functions that a page lists, by their dotted names."""
    found = {}
    for path in re.findall(r"^::: (\S+)", page.read_text(), re.M):
        module, _, name = path.rpartition(".")
        parent = importlib.import_module(module)
        listed = getattr(parent, name, None)
        if listed is None or inspect.ismodule(listed):
            module_found = importlib.import_module(path)
            named = {f"{path}.{n}": getattr(module_found, n) for n in module_found.__all__}
        else:
            named = {path: listed}
        found |= {k: v for k, v in named.items() if inspect.isclass(v) or inspect.isfunction(v)}
    return found


PAGES = sorted((ROOT / "docs/api").glob("*.md"))
PUBLIC = {
    name: found
    for page in PAGES
    if page.stem != "internals"
    for name, found in objects(page).items()
}
# what every document has: what it is and the version of its form
FORM = {"doc_type", "doc_version", "kind"}


def text_of(found: Any) -> str:
    """Return the docstring; an inherited one does not count."""
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    return inspect.cleandoc(own or "")


def section(text: str, *titles: str) -> str:
    """Return the text below the titles of numpy's docstring standard, joined."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", text, flags=re.M)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return "\n".join(named[title] for title in titles if title in named)


def parameters(found: Any) -> dict[str, Any]:
    """Return what a function, a dataclass or the ``__init__`` of a class takes."""
    made = dataclasses.is_dataclass(found) or "__init__" in vars(found)
    if inspect.isclass(found) and (not made or found.__dict__.get("_is_protocol")):
        return {}  # abstract, a protocol, or an exception of a message
    given = dict(inspect.signature(found).parameters)
    if dataclasses.is_dataclass(found):  # fields of other packages' classes are described there
        ours = [c for c in found.__mro__ if c.__module__.startswith("onfly.")]
        own = {name for c in ours for name in vars(c).get("__annotations__", {})}
        return {name: value for name, value in given.items() if name in own}
    return given


def test_the_public_face_is_on_the_pages():
    listed = {id(found) for found in PUBLIC.values()}
    for name in set(onfly.__all__) - {"__version__"}:
        assert id(getattr(onfly, name)) in listed, name


def test_every_page_is_read():
    assert len(PUBLIC) > 150
    assert len(objects(ROOT / "docs/api/internals.md")) > 50


def undescribed(found: Any) -> list[str]:
    """Return the parameters or fields without a description."""
    if inspect.isclass(found) and issubclass(found, BaseModel):
        own = set(vars(found).get("__annotations__", {})) - FORM
        return [k for k, f in found.model_fields.items() if k in own and not f.description]
    below = section(text_of(found), "Parameters", "Attributes").replace("\\\n", " ")
    heads = [line for line in below.splitlines() if line and not line.startswith(" ")]
    described = {word.strip(" *") for line in heads for word in line.split(",")}
    return [p for p in parameters(found) if p not in described]


def _hints(found: Any) -> dict[str, Any]:
    function = found.__init__ if inspect.isclass(found) else found
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return dict(getattr(function, "__annotations__", {}))


def raised(found: Any) -> set[str]:
    """Return the errors in the code of a function, or in what makes and checks an object."""
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    functions = [tree] if isinstance(tree, ast.FunctionDef) else list(_makers(tree))
    calls = [
        node.exc.func
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    return {call.id for call in calls if isinstance(call, ast.Name)} - {"AssertionError"}


def _makers(tree: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            checks = any("validator" in ast.dump(d) for d in node.decorator_list)
            if checks or node.name in ("__init__", "__post_init__"):
                yield node


def is_error(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, Exception)


def test_every_name_has_an_example():
    assert [name for name, found in PUBLIC.items() if ">>> " not in text_of(found)] == []


def test_parameters_are_described():
    found = {name: undescribed(found) for name, found in PUBLIC.items()}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_units_and_shapes_are_said():
    without_unit, without_shape = [], []
    for name, found in PUBLIC.items():
        text = text_of(found)
        if inspect.isclass(found) and issubclass(found, BaseModel):
            text += " ".join(str(f.description) for f in found.model_fields.values())
        if set(parameters(found)) & WITH_UNIT and not UNIT.search(text):
            without_unit.append(name)
        arrays = [h for h in map(str, _hints(found).values()) if "ndarray" in h or "Tensor" in h]
        if arrays and not re.search("shape|Name to tensor", text, re.I):
            without_shape.append(name)
    assert (without_unit, without_shape) == ([], [])


def test_what_is_returned_is_described():
    nothing = ("None", "<class 'inspect._empty'>")
    missing = [
        name
        for name, found in PUBLIC.items()
        if inspect.isfunction(found)
        and str(inspect.signature(found).return_annotation) not in nothing
        and not section(text_of(found), "Returns", "Yields")
    ]
    assert missing == []


def test_errors_are_named():
    missing = {
        name: raised(found)
        for name, found in PUBLIC.items()
        if not is_error(found) and raised(found) and not section(text_of(found), "Raises")
    }
    assert missing == {}


SOURCES = {
    "onfly.flows.OnTheFlyMaker": "10.1039/d5dd00392j",
    "onfly.bayes.calibration.Calibration": "10.1039/d5dd00392j",
    "onfly.bayes.sghmc_posterior.SGHMCPosterior": "10.1039/d5dd00392j",
    "onfly.dynamics.criteria.EnergyCriterion": "equation 14",
    "onfly.bayes.last_layer.LastLayerPosterior": "Theory",
    "onfly.proof.rule.ProofRule": "Jennison",
    "onfly.proof.looks.lower_bound": "Jennison",
    "onfly.proof.intervals.plan_audits": "Clopper",
    "onfly.proof.intervals.coverage_proven": "Clopper",
    "onfly.analysis.averages.correlated_mean": "Chodera",
    "onfly.analysis.msd.mean_squared_displacement": "Calandrini",
    "onfly.analysis.msd.unwrap": "von Bülow",
    "onfly.analysis.metrics.binomial_interval": "Clopper",
    "onfly.analysis.metrics.auc_roc": "Mann",
    "onfly.analysis.order.difference_of_stages": "Welch",
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_are_cited(name):
    assert SOURCES[name] in text_of(PUBLIC[name])
